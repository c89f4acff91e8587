//! Where memory may be sent: only where the node's administrator allows it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use stillframe_crds::{Reason, checkpoint::PageServer};

use super::failed::Failed;
use crate::checkpoint::{Network, Tls};

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
    /// The folder of the keys with which it is encrypted: `ca.crt`, `tls.crt` and `tls.key`, as a
    /// Secret of type `kubernetes.io/tls` has them.
    pub keys: Option<PathBuf>,
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

/// The address of a page server that memory may be sent to.
///
/// # Errors
/// Why it may not.
pub fn address(server: &PageServer, allowances: &Allowances) -> Result<IpAddr, Failed> {
    let PageServer { address, port, tls } = server;
    if *tls && allowances.keys.is_none() {
        let message = "pageServer.tls is on and this node's agent has no keys";
        return Err(Failed::of(Reason::PageServerKeysMissing, message));
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
pub fn tls(keys: &Path, asked: &str) -> Tls {
    Tls {
        ca: keys.join("ca.crt"),
        revoked: None,
        certificate: keys.join("tls.crt"),
        key: keys.join("tls.key"),
        check_name: asked.parse::<IpAddr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, port: u16, tls: bool) -> PageServer {
        PageServer {
            address: address.into(),
            port,
            tls,
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
