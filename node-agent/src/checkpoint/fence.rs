//! What keeps everybody but the named peers from the port on which lazy pages are served.
//!
//! CRIU listens on every address of its network namespace, whatever a request says, and serves whoever
//! comes first. So a rule of the firewall stands before its port from before the dump begins until CRIU
//! has ended. It is in the namespace that CRIU listens in, which is ours: with one of its own CRIU would
//! take the node's network for the container's, and lock that.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Output,
};

use serde::{Deserialize, Serialize};

use super::{
    journal,
    lock::{self, Namespace, remove_nftables},
};

mod network;

pub use network::{InvalidNetwork, Network};

/// There when the kernel speaks IPv6.
const SPEAKS_IPV6: &str = "/proc/net/if_inet6";

/// Who may fetch lazy pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The address that they have to come to; any of the node's when unset.
    pub address: Option<IpAddr>,
    /// Where they may come from. Nobody else reaches the port, this host itself included.
    pub peers: Vec<Network>,
}

/// Why there is no fence, or still one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither nftables nor iptables can be used.
    #[error("neither nft nor iptables can be used in this network: {0}")]
    NoTool(String),
    /// Our own network namespace cannot be opened.
    #[error("failed to open the network namespace of this process")]
    Namespace(#[source] std::io::Error),
    /// A tool could not be run.
    #[error(transparent)]
    Tool(#[from] lock::Error),
    /// A tool refused.
    #[error("{tool} refused: {said}")]
    Refused {
        /// Its name.
        tool: &'static str,
        /// What it said.
        said: String,
    },
}

/// What the rule is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tool {
    /// A table of its own.
    Nftables,
    /// A chain of its own in the filter tables.
    Iptables,
}

/// A rule before one port. It is noted in the journal before it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Inode of the network namespace.
    inode: u64,
    tool: Tool,
    /// What makes the rule this container's.
    name: String,
    port: u16,
}

impl Fence {
    /// The fence before a port for the dump of the container with this state directory, in our own
    /// network namespace, made with what there is. Nothing is changed yet.
    ///
    /// # Errors
    /// There is nothing that it could be made with.
    pub(super) fn before(port: u16, state_dir: &Path) -> Result<Self, Error> {
        let path = PathBuf::from("/proc/self/ns/net");
        let ours = Namespace::open(&path).map_err(Error::Namespace)?;
        Ok(Self {
            inode: ours.inode,
            tool: tool(&ours)?,
            name: journal::name_of(state_dir),
            port,
        })
    }

    /// Puts it up.
    ///
    /// # Errors
    /// A tool refused; some of it may be there.
    pub(super) fn raise(&self, admitted: &Admitted) -> Result<(), Error> {
        let Some(inside) = Namespace::find(self.inode) else {
            let gone = std::io::Error::from_raw_os_error(libc::ENOENT);
            return Err(Error::Namespace(gone));
        };
        match self.tool {
            Tool::Nftables => must(&inside, "nft", &[&self.table(admitted)]).map(drop),
            Tool::Iptables => {
                self.lower()?;
                for (tool, arguments) in self.chains(admitted) {
                    let words: Vec<_> = arguments.split(' ').collect();
                    must(&inside, tool, &words)?;
                }
                Ok(())
            }
        }
    }

    /// Takes it away, if it is there.
    ///
    /// # Errors
    /// A tool could not be run, or refused.
    pub(super) fn lower(&self) -> Result<(), Error> {
        // A namespace that is gone took its rules with it.
        let Some(inside) = Namespace::find(self.inode) else {
            return Ok(());
        };
        match self.tool {
            Tool::Nftables => Ok(remove_nftables(&inside, &self.table_name())?),
            Tool::Iptables => {
                let chain = self.chain_name();
                for tool in families() {
                    let there = inside.run(tool, &["-w", "5", "-S", &chain])?;
                    if !there.status.success() {
                        continue;
                    }
                    // Where it was put up half the jump may be missing.
                    let jump = self.jump("-D");
                    let _ = inside.run(tool, &jump.split(' ').collect::<Vec<_>>())?;
                    must(&inside, tool, &["-w", "5", "-F", &chain])?;
                    must(&inside, tool, &["-w", "5", "-X", &chain])?;
                }
                Ok(())
            }
        }
    }

    fn table_name(&self) -> String {
        format!("stillframe-lazy-{}", self.name)
    }

    /// At most 28 characters.
    fn chain_name(&self) -> String {
        format!("SF-LAZY-{}", self.name)
    }

    /// Everything for nft, which does all of it or nothing. What is dropped in one table stays dropped;
    /// what this one lets pass others may still drop.
    fn table(&self, admitted: &Admitted) -> String {
        let (name, port) = (self.table_name(), self.port);
        let table = format!("table inet {name}");
        let hook = "type filter hook input priority 0; policy accept;";
        let mut lines = ["add", "delete", "add"]
            .map(|verb| format!("{verb} {table}"))
            .to_vec();
        lines.push(format!("add chain inet {name} input {{ {hook} }}"));
        let rule = |rest: &str| format!("add rule inet {name} input tcp dport {port} {rest}");
        for (peer, to) in admitted.ways() {
            let family = if peer.is_ipv4() { "ip" } else { "ip6" };
            let to = to.map_or_else(String::new, |to| format!("{family} daddr {to} "));
            lines.push(rule(&format!("{family} saddr {peer} {to}accept")));
        }
        lines.push(rule("drop"));
        lines.join("\n")
    }

    /// The same for iptables and ip6tables. The jump comes last, once the chain is complete.
    fn chains(&self, admitted: &Admitted) -> Vec<(&'static str, String)> {
        let chain = self.chain_name();
        let mut all = Vec::new();
        for tool in families() {
            all.push((tool, format!("-w 5 -N {chain}")));
            for (peer, to) in admitted.ways() {
                if peer.is_ipv4() == (tool == "iptables") {
                    let to = to.map_or_else(String::new, |to| format!(" -d {to}"));
                    all.push((tool, format!("-w 5 -A {chain} -s {peer}{to} -j RETURN")));
                }
            }
            all.push((tool, format!("-w 5 -A {chain} -j DROP")));
            all.push((tool, self.jump("-I")));
        }
        all
    }

    fn jump(&self, verb: &str) -> String {
        let (chain, port) = (self.chain_name(), self.port);
        format!("-w 5 {verb} INPUT -p tcp --dport {port} -j {chain}")
    }
}

impl Admitted {
    /// Each peer that can come to the address at all, and that address.
    fn ways(&self) -> impl Iterator<Item = (&Network, Option<IpAddr>)> {
        let same = |peer: &&Network| {
            let to = self.address.as_ref();
            to.is_none_or(|to| to.is_ipv4() == peer.is_ipv4())
        };
        self.peers
            .iter()
            .filter(same)
            .map(|peer| (peer, self.address))
    }
}

fn families() -> impl Iterator<Item = &'static str> {
    let ipv6 = Path::new(SPEAKS_IPV6).exists().then_some("ip6tables");
    std::iter::once("iptables").chain(ipv6)
}

/// What can be used in this network.
fn tool(inside: &Namespace) -> Result<Tool, Error> {
    let nft = works(inside, "nft", &["list", "tables"]);
    let Err(no_nft) = nft else {
        return Ok(Tool::Nftables);
    };
    for family in families() {
        works(inside, family, &["-w", "5", "-S", "INPUT"])
            .map_err(|no| Error::NoTool(format!("{no_nft}; {no}")))?;
    }
    Ok(Tool::Iptables)
}

fn works(inside: &Namespace, tool: &'static str, arguments: &[&str]) -> Result<(), String> {
    match inside.run(tool, arguments) {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(refusal(tool, &out).to_string()),
        Err(error) => Err(super::repair::chain(&error)),
    }
}

fn must(inside: &Namespace, tool: &'static str, arguments: &[&str]) -> Result<Output, Error> {
    let out = inside.run(tool, arguments)?;
    if out.status.success() {
        Ok(out)
    } else {
        Err(refusal(tool, &out))
    }
}

fn refusal(tool: &'static str, out: &Output) -> Error {
    Error::Refused {
        tool,
        said: String::from_utf8_lossy(&out.stderr).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence() -> Fence {
        Fence {
            inode: 1,
            tool: Tool::Nftables,
            name: "0123456789abcdef".to_owned(),
            port: 27_277,
        }
    }

    fn admitted(address: Option<&str>, peers: &[&str]) -> Admitted {
        Admitted {
            address: address.map(|text| text.parse().unwrap()),
            peers: peers.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    /// What the rules of a table say of packets to the port.
    fn rules(admitted: &Admitted) -> Vec<String> {
        let start = "add rule inet stillframe-lazy-0123456789abcdef input tcp dport 27277 ";
        let text = fence().table(admitted);
        let lines = text.lines().filter_map(|line| line.strip_prefix(start));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn nobody_but_the_peers_reaches_the_port() {
        let peers = ["10.0.0.8", "10.1.0.0/16", "fd00::8"];
        assert_eq!(
            rules(&admitted(None, &peers)),
            [
                "ip saddr 10.0.0.8/32 accept",
                "ip saddr 10.1.0.0/16 accept",
                "ip6 saddr fd00::8/128 accept",
                "drop",
            ]
        );
        assert_eq!(rules(&admitted(None, &[])), ["drop"]);
    }

    #[test]
    fn an_address_is_the_only_one_that_they_reach_it_by() {
        assert_eq!(
            rules(&admitted(Some("10.0.0.7"), &["10.0.0.8", "fd00::8"])),
            ["ip saddr 10.0.0.8/32 ip daddr 10.0.0.7 accept", "drop"]
        );
    }

    #[test]
    fn what_an_earlier_table_of_the_name_held_goes_with_the_new_one() {
        let text = fence().table(&admitted(None, &[]));
        let lines: Vec<_> = text.lines().take(3).collect();
        let table = "table inet stillframe-lazy-0123456789abcdef";
        assert_eq!(
            lines,
            ["add", "delete", "add"].map(|verb| format!("{verb} {table}"))
        );
    }

    #[test]
    fn iptables_gets_the_same_and_jumps_there_only_once_it_is_complete() {
        let admitted = admitted(Some("10.0.0.7"), &["10.0.0.8", "fd00::8"]);
        let all = fence().chains(&admitted);
        let of = |tool: &str| {
            let these = all.iter().filter(|(of, _)| *of == tool);
            these
                .map(|(_, words)| words.strip_prefix("-w 5 ").unwrap())
                .collect::<Vec<_>>()
        };
        let chain = "SF-LAZY-0123456789abcdef";
        assert!(chain.len() <= 28);
        assert_eq!(
            of("iptables"),
            [
                format!("-N {chain}"),
                format!("-A {chain} -s 10.0.0.8/32 -d 10.0.0.7 -j RETURN"),
                format!("-A {chain} -j DROP"),
                format!("-I INPUT -p tcp --dport 27277 -j {chain}"),
            ]
        );
        if Path::new(SPEAKS_IPV6).exists() {
            assert_eq!(of("ip6tables")[1], format!("-A {chain} -j DROP"));
        }
    }
}
