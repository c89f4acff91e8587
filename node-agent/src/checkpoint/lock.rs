//! Which network lock a dump takes, and how one that was left behind is told apart and removed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use super::NetworkLock;

/// A lock method as CRIU names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A chain `CRIU` in the filter tables, jumped to from `INPUT` and `OUTPUT`.
    Iptables,
    /// A table `inet CRIU-<run id>`.
    Nftables,
    /// None.
    Skip,
}

impl Method {
    /// The word that users know.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Skip => "skip",
        }
    }

    /// The number of `criu_network_lock_method`.
    #[must_use]
    pub fn wire(self) -> i32 {
        match self {
            Self::Iptables => 1,
            Self::Nftables => 2,
            Self::Skip => 3,
        }
    }

    /// The method that CRIU's configuration files name with `word`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Iptables, Self::Nftables, Self::Skip]
            .into_iter()
            .find(|m| m.as_str() == word)
    }

    /// First CRIU release that knows the method, as `major * 10000 + minor * 100`.
    fn since(self) -> u32 {
        match self {
            Self::Iptables => 0,
            Self::Nftables => 31_600,
            Self::Skip => 31_900,
        }
    }
}

/// What the choice of a lock depends on.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// CRIU's version number.
    pub criu: u32,
    /// This CRIU can take the nftables lock.
    pub nftables: bool,
    /// Established connections are dumped, by request or by the site's configuration.
    pub connections: bool,
    /// The site's configuration names a method, and overrides what a request says.
    pub site: Option<Method>,
}

/// A lock method that was asked for by name and cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("criu {} offers no {} network lock: use --network-lock auto", .criu, .method.as_str())]
pub struct Unavailable {
    method: Method,
    criu: u32,
}

/// The lock for a dump.
///
/// `Auto` skips the lock when no connection is dumped: with nothing of a connection in the image,
/// no packet that arrives meanwhile can disagree with it, and an established connection makes a
/// dump without `tcp-established` fail anyway. Otherwise it is nftables, which CRIU applies within
/// its own process, and iptables where there is nothing else.
///
/// # Errors
/// A method that was asked for and is unknown to this CRIU, which would ignore the wish silently.
pub fn choose(asked: NetworkLock, now: Circumstances) -> Result<Method, Unavailable> {
    if let Some(site) = now.site {
        return Ok(site);
    }
    let has =
        |method: Method| now.criu >= method.since() && (method != Method::Nftables || now.nftables);
    let named = |method| {
        has(method).then_some(method).ok_or(Unavailable {
            method,
            criu: now.criu,
        })
    };
    match asked {
        NetworkLock::Iptables => named(Method::Iptables),
        NetworkLock::Nftables => named(Method::Nftables),
        NetworkLock::Skip => named(Method::Skip),
        NetworkLock::Auto if !now.connections && has(Method::Skip) => Ok(Method::Skip),
        NetworkLock::Auto if has(Method::Nftables) => Ok(Method::Nftables),
        NetworkLock::Auto => Ok(Method::Iptables),
    }
}

/// Why a network namespace could not be looked at or mended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace could not be opened or entered.
    #[error("failed to enter network namespace {inode}")]
    Enter {
        /// Its inode.
        inode: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A tool could not be started.
    #[error("failed to run {tool}")]
    Start {
        /// Its name.
        tool: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A tool refused.
    #[error("failed to remove the network lock with {tool}: {said}")]
    Refused {
        /// Its name.
        tool: &'static str,
        /// What it said.
        said: String,
    },
}

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    /// Its inode, which is its name in the journal.
    pub inode: u64,
}

impl Namespace {
    /// The namespace of a process.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of(pid: i32) -> io::Result<Self> {
        Self::open(&PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }

    /// Looks for a namespace by its inode: among the processes, then among those kept by name.
    /// `None` when it is gone, and its rules with it.
    #[must_use]
    pub fn find(inode: u64) -> Option<Self> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        processes
            .map(|entry| entry.path().join("ns/net"))
            .chain(named.map(|entry| entry.path()))
            .find(|path| fs::metadata(path).is_ok_and(|meta| meta.ino() == inode))
            .and_then(|path| Self::open(&path).ok())
            .filter(|found| found.inode == inode)
    }

    /// Runs a tool inside. The calling thread stays where it is.
    fn run(&self, tool: &'static str, arguments: &[&str]) -> Result<Output, Error> {
        let inside = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Enter {
                inode: self.inode,
                source: errno.into(),
            })?;
            Command::new(tool)
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .map_err(|source| Error::Start { tool, source })
        };
        // A thread of its own, since a thread cannot always get back to where it came from.
        thread::scope(|scope| {
            scope.spawn(inside).join().unwrap_or_else(|_| {
                Err(Error::Start {
                    tool,
                    source: io::Error::other("the thread died"),
                })
            })
        })
    }
}

/// The rules that could be CRIU's, by tool: what was there before a dump is nobody's of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules(BTreeMap<String, Vec<String>>);

const IPTABLES: [&str; 2] = ["iptables", "ip6tables"];

impl Rules {
    /// Reads the rules of a namespace, for an iptables lock.
    ///
    /// # Errors
    /// A tool could not be run inside. A tool that knows no tables has no rules.
    pub fn read(inside: &Namespace) -> Result<Self, Error> {
        let mut rules = BTreeMap::new();
        for tool in IPTABLES {
            let out = inside.run(tool, &["-w", "5", "-S"])?;
            let lines = String::from_utf8_lossy(&out.stdout);
            rules.insert(
                tool.to_owned(),
                lines
                    .lines()
                    .filter(|l| is_criu(l))
                    .map(str::to_owned)
                    .collect(),
            );
        }
        Ok(Self(rules))
    }

    /// What is in `self` and was not in `before`, in the order in which it can be removed.
    fn added_since(&self, before: &Self) -> BTreeMap<&'static str, Vec<Vec<String>>> {
        let mut added = BTreeMap::new();
        for tool in IPTABLES {
            let empty = Vec::new();
            let mut known = before.0.get(tool).unwrap_or(&empty).clone();
            let mut removals: Vec<Vec<String>> = Vec::new();
            for line in self.0.get(tool).unwrap_or(&empty) {
                if let Some(at) = known.iter().position(|k| k == line) {
                    known.swap_remove(at);
                    continue;
                }
                removals.extend(removal(line));
            }
            // Jumps go before the chain that they name.
            removals.sort_by_key(|words| {
                words
                    .first()
                    .map(|w| ["-D", "-F", "-X"].iter().position(|o| o == w))
            });
            added.insert(tool, removals);
        }
        added
    }
}

/// Whether a line of `iptables -S` can be of CRIU's making: its chain, a jump to it, or a rule that
/// drops one connection's packets unless they carry CRIU's mark (0xC114).
fn is_criu(line: &str) -> bool {
    line == "-N CRIU"
        || line.ends_with("-j CRIU")
        || line.starts_with("-A CRIU ")
        || (line.contains("! --mark 0xc114") && line.ends_with("-j DROP"))
}

/// The commands that undo a line of `iptables -S`; none for rules inside the chain, which go with it.
fn removal(line: &str) -> Vec<Vec<String>> {
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    match line.strip_prefix("-A ") {
        _ if line == "-N CRIU" => vec![words("-F CRIU"), words("-X CRIU")],
        Some(rule) if !rule.starts_with("CRIU ") => vec![words(&format!("-D {rule}"))],
        _ => Vec::new(),
    }
}

/// Removes the iptables rules that came since `before`.
///
/// # Errors
/// A tool that could not be run, or that refused; the other rules are still tried.
pub fn remove_iptables(inside: &Namespace, before: &Rules) -> Result<(), Error> {
    let now = Rules::read(inside)?;
    let mut outcome = Ok(());
    for (tool, removals) in now.added_since(before) {
        for removal in removals {
            let mut arguments = vec!["-w", "5"];
            arguments.extend(removal.iter().map(String::as_str));
            let out = inside.run(tool, &arguments)?;
            if !out.status.success() {
                outcome = Err(refusal(tool, &out));
            }
        }
    }
    outcome
}

/// Removes the nftables table of one CRIU run, if it is there.
///
/// # Errors
/// `nft` could not be run, or refused.
pub fn remove_nftables(inside: &Namespace, run_id: &RunId) -> Result<(), Error> {
    let table = format!("CRIU-{}", run_id.0);
    let listed = inside.run("nft", &["list", "tables"])?;
    let line = format!("table inet {table}");
    if !String::from_utf8_lossy(&listed.stdout)
        .lines()
        .any(|l| l.trim() == line)
    {
        return Ok(());
    }
    let out = inside.run("nft", &["delete", "table", "inet", &table])?;
    if out.status.success() {
        Ok(())
    } else {
        Err(refusal("nft", &out))
    }
}

fn refusal(tool: &'static str, out: &Output) -> Error {
    Error::Refused {
        tool,
        said: String::from_utf8_lossy(&out.stderr).trim().to_owned(),
    }
}

/// The name that a run of CRIU gives itself, a UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// Finds the names at the head of a log, where CRIU (4.1 and newer) puts them before it has
    /// looked at anything that a workload could have named. `criu swrk` names itself twice, and
    /// goes by the second.
    #[must_use]
    pub fn in_log(head: &str) -> Vec<Self> {
        head.lines()
            .take_while(|line| !line.contains("Version: "))
            .filter_map(|line| line.split_once("CRIU run id = "))
            .filter_map(|(_, id)| Self::parse(id.trim()))
            .collect()
    }

    fn parse(id: &str) -> Option<Self> {
        let shaped = id.len() == 36
            && id.char_indices().all(|(at, c)| match at {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            });
        shaped.then(|| Self(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: Circumstances = Circumstances {
        criu: 40_201,
        nftables: true,
        connections: false,
        site: None,
    };

    #[test]
    fn skips_the_lock_when_no_connection_is_dumped() {
        assert_eq!(choose(NetworkLock::Auto, MODERN), Ok(Method::Skip));
    }

    #[test]
    fn locks_when_connections_are_dumped() {
        let now = Circumstances {
            connections: true,
            ..MODERN
        };
        assert_eq!(choose(NetworkLock::Auto, now), Ok(Method::Nftables));
        let now = Circumstances {
            nftables: false,
            ..now
        };
        assert_eq!(choose(NetworkLock::Auto, now), Ok(Method::Iptables));
    }

    #[test]
    fn falls_back_to_what_an_old_criu_knows() {
        let now = Circumstances {
            criu: 31_700,
            ..MODERN
        };
        assert_eq!(choose(NetworkLock::Auto, now), Ok(Method::Nftables));
        let now = Circumstances {
            criu: 31_500,
            ..MODERN
        };
        assert_eq!(choose(NetworkLock::Auto, now), Ok(Method::Iptables));
    }

    #[test]
    fn refuses_a_named_method_that_criu_would_ignore() {
        let now = Circumstances {
            criu: 31_700,
            ..MODERN
        };
        let error = choose(NetworkLock::Skip, now).unwrap_err();
        assert!(
            error.to_string().contains("no skip network lock"),
            "{error}"
        );
        let now = Circumstances {
            nftables: false,
            ..MODERN
        };
        assert!(choose(NetworkLock::Nftables, now).is_err());
    }

    #[test]
    fn lets_the_site_have_the_last_word() {
        let now = Circumstances {
            site: Some(Method::Iptables),
            ..MODERN
        };
        assert_eq!(choose(NetworkLock::Skip, now), Ok(Method::Iptables));
    }

    fn rules(lines: &[&str]) -> Rules {
        let lines = lines.iter().map(|l| (*l).to_owned()).collect();
        Rules(BTreeMap::from([("iptables".to_owned(), lines)]))
    }

    #[test]
    fn removes_jumps_before_the_chain_and_leaves_what_was_there() {
        let before = rules(&["-A INPUT -s 10.0.0.1/32 -p tcp -m mark ! --mark 0xc114 -j DROP"]);
        let now = rules(&[
            "-N CRIU",
            "-A INPUT -s 10.0.0.1/32 -p tcp -m mark ! --mark 0xc114 -j DROP",
            "-A INPUT -j CRIU",
            "-A OUTPUT -j CRIU",
            "-A CRIU -j DROP",
        ]);
        let added = now.added_since(&before);
        let words: Vec<_> = added["iptables"].iter().map(|w| w.join(" ")).collect();
        assert_eq!(
            words,
            [
                "-D INPUT -j CRIU",
                "-D OUTPUT -j CRIU",
                "-F CRIU",
                "-X CRIU"
            ]
        );
    }

    #[test]
    fn removes_nothing_of_a_lock_that_somebody_else_holds() {
        let foreign = rules(&["-N CRIU", "-A INPUT -j CRIU", "-A CRIU -j DROP"]);
        assert!(foreign.added_since(&foreign)["iptables"].is_empty());
    }

    #[test]
    fn takes_run_ids_only_in_their_own_shape_and_place() {
        let id = "0f7c2a52-77f5-4cde-9d6e-0123456789ab";
        let log = format!("(00.000000) CRIU run id = {id}\n(00.000023) Version: 4.2.1 (gitid 0)\n");
        assert_eq!(RunId::in_log(&log), [RunId(id.into())]);
        assert_eq!(
            RunId::in_log("(0) CRIU run id = x; delete table inet filter"),
            []
        );
        let late = format!("(00.000023) Version: 4.2.1\n(00.1) CRIU run id = {id}\n");
        assert_eq!(RunId::in_log(&late), []);
    }
}
