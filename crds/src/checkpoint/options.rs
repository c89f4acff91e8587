//! The options of a checkpoint: runc's flags under their own names, and a few beyond.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ByteCount;

/// How the container is dumped. A field of runc's name means what runc's flag means.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch per flag of runc, each independent"
)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!self.lazyPages || has(self.pageServer)",
        "message": "lazyPages needs pageServer: the memory is served from that port. Add pageServer, or leave lazyPages out",
    },
    {
        "rule": "!self.lazyPages || has(self.lazyPeers) && size(self.lazyPeers) > 0",
        "message": "lazyPages needs lazyPeers: the addresses that may fetch the memory, which nobody else then can. Add lazyPeers, or leave lazyPages out",
    },
    {
        "rule": "self.lazyPages || !has(self.lazyPeers) || size(self.lazyPeers) == 0",
        "message": "lazyPeers name who may fetch lazy pages: set lazyPages to true, or leave lazyPeers out",
    },
    {
        "rule": "!self.lazyPages || !has(self.pageServer) || !has(self.pageServer.address) || isIP(self.pageServer.address)",
        "message": "with lazyPages pageServer.address is where the pod's node serves: use one of its IP addresses, or 0.0.0.0 for the address that the cluster knows it by",
    },
    {
        "rule": "!self.lazyPages || !has(self.pageServer) || !has(self.pageServer.receiverRef)",
        "message": "lazyPages serves the memory and a receiver is not served: use pageServer with address and port",
    },
    {
        "rule": "!(has(self.parentRef) && has(self.parentPath))",
        "message": "parentRef and parentPath name the same thing: use one of them",
    },
    {
        "rule": "!self.preDump || self.leaveRunning",
        "message": "a pre-dump never ends the container: leave leaveRunning out or set it to true",
    },
    {
        "rule": "!(self.preDump && self.lazyPages)",
        "message": "preDump writes memory and lazyPages does not: use one of them",
    },
    {
        "rule": "!self.tcpEstablished || self.leaveRunning || self.acceptConnectionLoss",
        "message": "with leaveRunning false the saved connections die with the container, since its network does: set acceptConnectionLoss to true, or leave leaveRunning out",
    },
    {
        "rule": "!has(self.workPath) || !has(self.imagePath) || !(self.workPath + '/').startsWith(self.imagePath + '/') && !(self.imagePath + '/').startsWith(self.workPath + '/')",
        "message": "imagePath and workPath may not be the same directory or lie in each other: the image directory appears only once it is complete",
    },
    {
        "rule": "!has(self.parentPath) || !has(self.imagePath) || !(self.parentPath + '/').startsWith(self.imagePath + '/') && !(self.imagePath + '/').startsWith(self.parentPath + '/')",
        "message": "imagePath and parentPath may not be the same directory or lie in each other: a parent is an image of its own",
    },
]))]
pub struct Options {
    /// Leave the container running after the dump. When false, the dump ends the container and the
    /// kubelet applies the pod's restartPolicy. (runc's default is false.)
    pub leave_running: bool,
    /// Save the memory alone, as the first step of an iterative checkpoint. The container keeps
    /// running.
    pub pre_dump: bool,
    /// An earlier checkpoint of the same container, on the same node, which this one builds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<ObjectName>,
    /// The same by its image directory: a path relative to the namespace's directory below the
    /// agent's image root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_path: Option<RelativePath>,
    /// Save established TCP connections. Without it, a container that has any is not dumped.
    pub tcp_established: bool,
    /// With tcpEstablished and leaveRunning false, accept that the connections are lost: the pod's
    /// network goes away with the container, unless the image is restored in its place at once.
    pub accept_connection_loss: bool,
    /// Leave half-open TCP connections out of the image.
    pub tcp_skip_in_flight: bool,
    /// Allow unix sockets whose other end is outside the container.
    pub ext_unix_sk: bool,
    /// Allow a session leader or a terminal outside the container.
    pub shell_job: bool,
    /// Save file locks.
    pub file_locks: bool,
    /// Save files that are open and were deleted while another name of them is left.
    pub link_remap: bool,
    /// Serve the memory on demand instead of writing it, from the port that pageServer names on the
    /// pod's node. The container stands still until all is fetched. The condition `LazyPagesReady`
    /// tells when it can be, and `status.lazyPages` where.
    pub lazy_pages: bool,
    /// With lazyPages, who may fetch the memory: IP addresses, or networks such as 10.0.0.0/24.
    /// Nobody else reaches the port, the node itself included. The agent's administrator has to have
    /// allowed that memory goes there, as for page servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub lazy_peers: Vec<Peer>,
    /// Remove from the parent's image what this one holds anew. Runs once this image is complete.
    pub auto_dedup: bool,
    /// How cgroups are saved. Unset means Ignore: the others make CRIU remount the host's cgroup
    /// hierarchies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manage_cgroups_mode: Option<CgroupsMode>,
    /// Namespaces whose contents are not saved. (runc always leaves the network's out.)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1), extend("x-kubernetes-list-type" = "set"))]
    pub empty_namespaces: Vec<EmptyNamespace>,
    /// Send the memory to a page server instead of writing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_server: Option<PageServer>,
    /// The image's directory, relative to the namespace's directory below the agent's image root.
    /// Unset, it is the object's name and UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_path: Option<RelativePath>,
    /// The directory of CRIU's log and statistics, relative like imagePath. Unset, it lies beside
    /// the image directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_path: Option<RelativePath>,
    /// How the container's network is held still while connections are saved.
    pub network_lock: NetworkLock,
    /// Track memory from now on although there is no parent, so that this image can become one.
    pub track_memory: bool,
    /// Largest deleted but open file that is saved: a number of bytes, or one with Ki, Mi or Gi.
    /// Unset, it is CRIU's own limit, 1Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ghost_limit: Option<ByteCount>,
    /// How long the container may stand still, in seconds. A dump that would take longer is rolled
    /// back in time and has failed: for that a tenth is kept, 400 ms at least and a second at most.
    /// Unset, it is what the liveness probes of the containers that stand still allow; without such
    /// probes there is no bound but timeoutSeconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub max_pause_seconds: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            leave_running: true,
            pre_dump: false,
            parent_ref: None,
            parent_path: None,
            tcp_established: false,
            accept_connection_loss: false,
            tcp_skip_in_flight: false,
            ext_unix_sk: false,
            shell_job: false,
            file_locks: false,
            link_remap: false,
            lazy_pages: false,
            lazy_peers: Vec::new(),
            auto_dedup: false,
            manage_cgroups_mode: None,
            empty_namespaces: Vec::new(),
            page_server: None,
            image_path: None,
            work_path: None,
            network_lock: NetworkLock::Auto,
            track_memory: false,
            ghost_limit: None,
            max_pause_seconds: None,
        }
    }
}

impl Options {
    /// The receiver that the memory goes to, where one is named.
    #[must_use]
    pub fn receiver(&self) -> Option<&str> {
        let reference = self.page_server.as_ref()?.receiver_ref.as_ref()?;
        Some(&reference.name)
    }

    /// Whether the container ends with the dump.
    #[must_use]
    pub fn ends_the_container(&self) -> bool {
        !self.leave_running && !self.pre_dump
    }
}

/// Another object of the same namespace.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// The object's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// A relative path of normal components.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(transparent)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.split('/').all(part, part != '' && part != '.' && part != '..')",
        "message": "must be a relative path without empty, . or .. parts: it is looked up in the namespace's directory below the agent's image root",
    },
    {
        "rule": "self.split('/').all(part, size(part) <= 200 && !part.endsWith('.partial') && !part.endsWith('.work') && !part.endsWith('.owner'))",
        "message": "no part may be longer than 200 bytes or end with .partial, .work or .owner, which are the agent's own",
    },
]))]
pub struct RelativePath(
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\x00-\x1f\x7f]+$"))] pub String,
);

/// An IP address, or a network of them.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(transparent)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "isIP(self) || isCIDR(self)",
        "message": "must be an IP address or a network, such as 10.0.0.8 or 10.0.0.0/24",
    },
]))]
pub struct Peer(#[schemars(length(min = 1, max = 43))] pub String);

/// How CRIU treats the container's cgroups.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupsMode {
    /// Restore the properties of cgroups that do not exist yet.
    Soft,
    /// Always restore the properties.
    Full,
    /// Fail the restore when a cgroup exists.
    Strict,
    /// Leave cgroups alone.
    Ignore,
}

/// A namespace whose contents are not saved.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyNamespace {
    /// The network namespace.
    Network,
}

/// How the container's network is held still.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkLock {
    /// Skip when no connection is saved, else Nftables where CRIU has it, else Iptables.
    #[default]
    Auto,
    /// CRIU's chains in the filter table.
    Iptables,
    /// CRIU's own nftables table.
    Nftables,
    /// No lock.
    Skip,
}

/// Where the memory is sent: an address and a port, or a receiver.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.receiverRef) ? !has(self.address) && !has(self.port) : has(self.address) && has(self.port)",
        "message": "use either address and port, or receiverRef",
    },
    {
        "rule": "!has(self.receiverRef) || self.tls",
        "message": "tls is for the receiver to say: leave it out here, and set it in the PageReceiver",
    },
]))]
pub struct PageServer {
    /// The server's IP address or name. The agent sends memory only to addresses that its
    /// administrator has allowed. With lazyPages it is where the pod's node serves: one of the node's
    /// IP addresses, or 0.0.0.0 for the one that the cluster knows it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub address: Option<String>,
    /// The server's TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// Encrypt the memory on its way, with the keys of the node. With lazyPages whoever fetches it
    /// then needs keys of the same authority.
    #[serde(default = "encrypted")]
    pub tls: bool,
    /// A `PageReceiver` of this namespace, which receives no other checkpoint's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver_ref: Option<ObjectName>,
}

fn encrypted() -> bool {
    true
}
