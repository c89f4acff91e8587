//! Which network lock a dump takes, and how one that was left behind is told apart and removed.

use serde::{Deserialize, Serialize};

use super::NetworkLock;

mod rules;

pub use rules::{Error, Namespace, Rules, remove_iptables, remove_nftables};

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
}
