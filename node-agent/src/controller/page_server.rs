//! Where memory may be sent: only where the node's administrator allows it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    str::FromStr,
};

use stillframe_crds::{
    Reason,
    checkpoint::{PageServer, PinnedServer},
};

use super::failed::Failed;
use crate::{checkpoint::Network, criu::Tls};

/// Addresses, and where wanted a port, that memory may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    network: IpAddr,
    prefix: u8,
    port: Option<u16>,
}

/// What the administrator allows; nothing unless asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Where memory may go.
    pub allowed: Vec<Allowance>,
    /// The keys with which it is encrypted.
    pub keys: Option<Keys>,
}

/// The keys with which memory is encrypted on its way, in a folder: `ca.crt`, and for each node `NODE.crt`
/// and `NODE.key`. A node that has none of its own uses `tls.crt` and `tls.key`, as a Secret of type
/// `kubernetes.io/tls` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The folder.
    pub folder: PathBuf,
    /// This node's name.
    pub node: String,
}

impl Keys {
    /// The files as they are at this moment: whoever renews them replaces them under the agent.
    #[must_use]
    pub fn tls(&self, check_name: bool) -> Tls {
        let at = |name: String| self.folder.join(name);
        let pair = |stem: &str| (at(format!("{stem}.crt")), at(format!("{stem}.key")));
        let own = pair(&self.node);
        let (certificate, key) = if own.0.is_file() && own.1.is_file() {
            own
        } else {
            pair("tls")
        };
        Tls {
            ca: at("ca.crt".to_owned()),
            revoked: Some(at("ca.crl".to_owned())).filter(|list| list.is_file()),
            certificate,
            key,
            check_name,
        }
    }
}

/// A text that is no allowance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid page server {0:?}: use ADDRESS, ADDRESS:PORT or CIDR, with an IPv6 address before a port in brackets"
)]
pub struct Invalid(String);

impl FromStr for Allowance {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || Invalid(text.to_owned());
        let all = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        if let Some((network, prefix)) = text.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| invalid())?;
            let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
            let valid = prefix <= all(network);
            let port = None;
            return valid
                .then_some(Self {
                    network,
                    prefix,
                    port,
                })
                .ok_or_else(invalid);
        }
        let (network, port) = if let Ok(address) = text.parse::<IpAddr>() {
            (address, None)
        } else {
            let socket: SocketAddr = text.parse().map_err(|_| invalid())?;
            (socket.ip(), Some(socket.port()))
        };
        Ok(Self {
            network,
            prefix: all(network),
            port,
        })
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.network, self.prefix)?;
        self.port.map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

impl Allowance {
    /// Whether memory may go to every address of a network. Whoever fetches it has no port of its own,
    /// so that an allowance with one is for a server alone.
    pub(super) fn covers_all(&self, fetching: &Network) -> bool {
        let all = Network::new(self.network, self.prefix);
        self.port.is_none() && all.is_some_and(|all| all.covers(fetching))
    }

    fn covers(&self, address: IpAddr, port: u16) -> bool {
        let same = match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .is_none_or(|rest| rest == 0)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits())
                    .checked_shr(shift)
                    .is_none_or(|rest| rest == 0)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        };
        same && self.port.is_none_or(|allowed| allowed == port)
    }
}

/// Where a checkpoint's memory goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server's address or name.
    pub address: String,
    /// Its TCP port.
    pub port: u16,
    /// Encrypt the memory on its way.
    pub tls: bool,
    /// The receiver that the operator has found there.
    pub receiver: Option<PinnedServer>,
}

impl Target {
    /// What was asked for; of a receiver, what the operator has found. `None` where it has found none yet.
    #[must_use]
    pub fn of(asked: &PageServer, pinned: Option<&PinnedServer>) -> Option<Self> {
        let PageServer {
            address,
            port,
            tls,
            receiver_ref,
        } = asked;
        if let Some(reference) = receiver_ref {
            let pinned = pinned.filter(|pinned| pinned.receiver == reference.name);
            return pinned.map(|pinned| Self {
                address: pinned.address.clone(),
                port: pinned.port,
                tls: pinned.tls,
                receiver: Some(pinned.clone()),
            });
        }
        Some(Self {
            address: address.clone()?,
            port: (*port)?,
            tls: *tls,
            receiver: None,
        })
    }
}

/// The address of a page server that memory may be sent to. To a receiver of the cluster's it may be sent
/// without leave as long as it is encrypted: only an agent of the cluster has a key that opens it.
///
/// # Errors
/// Why it may not.
pub fn address(server: &Target, allowances: &Allowances) -> Result<IpAddr, Failed> {
    let Target {
        address,
        port,
        tls,
        receiver,
    } = server;
    if *tls && allowances.keys.is_none() {
        let message = "pageServer.tls is on and this node's agent has no keys";
        return Err(Failed::of(Reason::PageServerKeysMissing, message));
    }
    if receiver.is_some() && *tls {
        return address.parse().map_err(|_| {
            let message = format!("receivers have addresses, and {address} is none");
            Failed::of(Reason::InternalError, message)
        });
    }
    let found = (address.as_str(), *port).to_socket_addrs();
    let found = found.map_err(|error| {
        let message = format!("page server {address} cannot be found: {error}");
        Failed::of(Reason::PageServerUnreachable, message)
    })?;
    let mut allowed = found.map(|found| found.ip()).filter(|ip| {
        let mut list = allowances.allowed.iter();
        list.any(|one| one.covers(*ip, *port))
    });
    allowed.next().ok_or_else(|| {
        let message = format!("this node's agent may not send memory to {address} port {port}");
        Failed::of(Reason::PageServerNotAllowed, message)
    })
}

/// The files of a connection to the page server `asked`. CRIU is handed an address, so that a name
/// cannot be held against the server's certificate: any that the authority has signed will do.
#[must_use]
pub fn tls(keys: &Keys, asked: &str) -> Tls {
    keys.tls(asked.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, port: u16, tls: bool) -> Target {
        Target {
            address: address.into(),
            port,
            tls,
            receiver: None,
        }
    }

    fn allow(list: &[&str]) -> Allowances {
        Allowances {
            allowed: list.iter().map(|text| text.parse().unwrap()).collect(),
            keys: None,
        }
    }

    #[test]
    fn memory_goes_only_where_it_may() {
        for (list, to, port, may) in [
            (&[][..], "10.0.0.7", 1, false),
            (&["10.0.0.0/24"], "10.0.0.7", 1, true),
            (&["10.0.0.0/24"], "10.0.1.7", 1, false),
            (&["10.0.0.7"], "10.0.0.7", 9, true),
            (&["10.0.0.7:9"], "10.0.0.7", 9, true),
            (&["10.0.0.7:9"], "10.0.0.7", 8, false),
            (&["0.0.0.0/0"], "127.0.0.1", 8, true),
            (&["0.0.0.0/0"], "::1", 8, false),
            (&["[fd00::1]:7"], "fd00::1", 7, true),
            (&["fd00::/8"], "fd12::1", 7, true),
            (&["10.0.0.0/24"], "::ffff:10.0.0.7", 7, true),
        ] {
            let found = address(&server(to, port, false), &allow(list));
            assert_eq!(found.is_ok(), may, "{list:?} {to} {port}");
        }
    }

    #[test]
    fn a_node_uses_its_own_key_where_it_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let keys = Keys {
            folder: folder.path().to_owned(),
            node: "node-a".to_owned(),
        };
        for name in ["ca.crt", "tls.crt", "tls.key", "node-b.crt", "node-b.key"] {
            put(name);
        }
        let used = |tls: &Tls| {
            let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
            (name(&tls.certificate), name(&tls.key))
        };
        let shared = keys.tls(true);
        assert_eq!(used(&shared), ("tls.crt".into(), "tls.key".into()));
        assert!(shared.check_name && shared.revoked.is_none());
        // Half a pair is none.
        put("node-a.crt");
        assert_eq!(used(&keys.tls(true)), ("tls.crt".into(), "tls.key".into()));
        put("node-a.key");
        put("ca.crl");
        let own = tls(&keys, "server.example");
        assert_eq!(used(&own), ("node-a.crt".into(), "node-a.key".into()));
        assert!(!own.check_name && own.revoked.is_some());
    }

    #[test]
    fn a_receiver_of_the_cluster_needs_no_leave_but_keys() {
        let keys = Keys {
            folder: PathBuf::new(),
            node: "node-a".to_owned(),
        };
        let with_keys = |list: &[&str]| Allowances {
            keys: Some(keys.clone()),
            ..allow(list)
        };
        let receiver = |tls| Target {
            receiver: Some(PinnedServer::default()),
            ..server("10.0.0.7", 1, tls)
        };
        for (target, allowances, want) in [
            (receiver(true), with_keys(&[]), None),
            (
                receiver(true),
                allow(&["10.0.0.7"]),
                Some(Reason::PageServerKeysMissing),
            ),
            (
                receiver(false),
                with_keys(&[]),
                Some(Reason::PageServerNotAllowed),
            ),
            (receiver(false), allow(&["10.0.0.7"]), None),
            (
                Target {
                    address: "localhost".to_owned(),
                    ..receiver(true)
                },
                with_keys(&[]),
                Some(Reason::InternalError),
            ),
        ] {
            let found = address(&target, &allowances);
            assert_eq!(
                found.err().map(|failed| failed.reason()),
                want,
                "{target:?}"
            );
        }
    }

    #[test]
    fn encryption_needs_keys() {
        let failed = address(&server("10.0.0.7", 1, true), &allow(&["10.0.0.7"])).unwrap_err();
        assert_eq!(failed.reason(), Reason::PageServerKeysMissing);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "host",
            "10.0.0.1/33",
            "10.0.0.1:x",
            "10.0.0.1/8:9",
            "::1:/3",
        ] {
            assert!(text.parse::<Allowance>().is_err(), "{text}");
        }
    }
}
