//! How much memory a program holds, as the kernel counts it.

use rig::Node;
use serde::Serialize;

use crate::error::Error;

/// Memory of a process, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Memory {
    /// Now, shared pages of its file included.
    pub(crate) rss: f64,
    /// Of that, its own.
    pub(crate) anonymous: f64,
    /// The most that it was since it started.
    pub(crate) peak: f64,
}

impl Memory {
    /// That of the process of a node whose command line begins so.
    pub(crate) fn of(node: &Node, command: &str) -> Result<Self, Error> {
        let script = format!("cat /proc/$(pgrep -o -f '^{command}')/status");
        let status = node.shell(&script).stdout;
        Self::parse(&status).ok_or_else(|| Error::Mission {
            what: format!("read the memory of {command}"),
            why: status,
        })
    }

    fn parse(status: &str) -> Option<Self> {
        let mebibytes = |key: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            let kibibytes: u32 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some(f64::from(kibibytes) / 1024.0)
        };
        Some(Self {
            rss: mebibytes("VmRSS:")?,
            anonymous: mebibytes("RssAnon:")?,
            peak: mebibytes("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_words_are_read_and_others_are_not() {
        let status = "Name:\tx\nVmHWM:\t   40960 kB\nVmRSS:\t   20480 kB\nRssAnon:\t    1024 kB\n";
        let memory = Memory::parse(status).expect("all of it is there");
        assert!((memory.rss - 20.0).abs() < 1e-9);
        assert!((memory.anonymous - 1.0).abs() < 1e-9);
        assert!((memory.peak - 40.0).abs() < 1e-9);
        assert_eq!(Memory::parse("VmRSS: many kB\n"), None);
    }
}
