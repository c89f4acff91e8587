//! The rules of a lock that was left behind: told apart from everybody else's, and removed.

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

    pub(in crate::checkpoint) fn open(path: &Path) -> io::Result<Self> {
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
    pub(in crate::checkpoint) fn run(
        &self,
        tool: &'static str,
        arguments: &[&str],
    ) -> Result<Output, Error> {
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

/// Removes one table of family `inet`, if it is there.
///
/// # Errors
/// `nft` could not be run, or refused.
pub fn remove_nftables(inside: &Namespace, table: &str) -> Result<(), Error> {
    let listed = inside.run("nft", &["list", "tables"])?;
    let line = format!("table inet {table}");
    if !String::from_utf8_lossy(&listed.stdout)
        .lines()
        .any(|l| l.trim() == line)
    {
        return Ok(());
    }
    let out = inside.run("nft", &["delete", "table", "inet", table])?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
