//! Lazy pages: who may fetch them, where this node serves them, and whether it can.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd as _,
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt::ReuseAddr,
    },
};
use stillframe_crds::{Reason, checkpoint::Options};

use super::{
    failed::Failed,
    page_server::{Allowances, Target},
};
use crate::{
    checkpoint::{Admitted, Network},
    host,
};

/// What is found of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    /// Its addresses.
    addresses: Vec<IpAddr>,
    /// Why CRIU could not serve its pages.
    pipes: Option<String>,
    /// Somebody listens on the port.
    taken: bool,
}

/// Whom the fence lets pass, for an object that asks for lazy pages. `address` is the one that the
/// cluster knows this node by.
///
/// # Errors
/// Memory may not go there, or this node cannot serve it. Nothing has been touched.
pub(super) fn admitted(
    options: &Options,
    server: &Target,
    allowances: &Allowances,
    address: Option<IpAddr>,
) -> Result<Admitted, Failed> {
    let peers = peers(options, server, allowances)?;
    let found = Found {
        addresses: addresses()?,
        pipes: host::small_pipes(&host::pipes())
            .map(|warning| format!("{}: {}", warning.message, warning.advice)),
        taken: is_taken(server.port),
    };
    let address = served(server, address, &found)?;
    Ok(Admitted { address, peers })
}

/// Where the memory of an object can be fetched: at the address that it names, or at the one that the
/// cluster knows this node by.
#[must_use]
pub(super) fn told(server: &Target, known_by: Option<IpAddr>) -> Option<IpAddr> {
    let named = server.address.parse::<IpAddr>().ok();
    named
        .filter(|address| !address.is_unspecified())
        .or(known_by)
}

/// Who may fetch: all of whom memory may be sent to, or nobody.
fn peers(
    options: &Options,
    server: &Target,
    allowances: &Allowances,
) -> Result<Vec<Network>, Failed> {
    if server.tls && allowances.keys.is_none() {
        let message = "pageServer.tls is on and this node's agent has no keys";
        return Err(Failed::of(Reason::PageServerKeysMissing, message));
    }
    if options.lazy_peers.is_empty() {
        let message = "lazyPages needs lazyPeers: the addresses that may fetch the memory";
        return Err(Failed::of(Reason::InvalidSpec, message));
    }
    let each = options.lazy_peers.iter().map(|peer| {
        let network: Network = peer.0.parse().map_err(|error| {
            let message = format!("lazyPeers: {error}");
            Failed::of(Reason::InvalidSpec, message)
        })?;
        let mut allowed = allowances.allowed.iter();
        if allowed.any(|one| one.covers_all(&network)) {
            return Ok(network);
        }
        let peer = &peer.0;
        let message = format!("this node's agent may not let {peer} of lazyPeers fetch memory");
        Err(Failed::of(Reason::PageServerNotAllowed, message))
    });
    each.collect()
}

/// The one address to come to, where the object names one.
fn served(
    server: &Target,
    known_by: Option<IpAddr>,
    found: &Found,
) -> Result<Option<IpAddr>, Failed> {
    let Target { address, port, .. } = server;
    let invalid = |message: String| Failed::of(Reason::InvalidSpec, message);
    let named: IpAddr = address.parse().map_err(|_| {
        invalid(format!(
            "pageServer.address {address:?} is no IP address: with lazyPages it is one of this node's, or 0.0.0.0"
        ))
    })?;
    let named = Some(named).filter(|address| !address.is_unspecified());
    if let Some(named) = named.filter(|named| !found.addresses.contains(named)) {
        return Err(invalid(format!(
            "pageServer.address {named} is no address of this node: with lazyPages it is where the memory is served"
        )));
    }
    if let Some(address) = named.or(known_by).filter(IpAddr::is_ipv6) {
        return Err(invalid(format!(
            "CRIU serves lazy pages at IPv4 addresses alone, and {address} is none: name one of this node's in pageServer.address"
        )));
    }
    if let Some(why) = &found.pipes {
        return Err(Failed::of(Reason::NoLazyPages, why.clone()));
    }
    if found.taken {
        return Err(invalid(format!(
            "pageServer.port {port} is taken: another program listens there on this node, so choose another"
        )));
    }
    Ok(named)
}

fn addresses() -> Result<Vec<IpAddr>, Failed> {
    let found = getifaddrs().map_err(|errno| {
        let message = format!("failed to list this node's addresses: {}", errno.desc());
        Failed::of(Reason::InternalError, message)
    })?;
    let addresses = found.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    Ok(addresses.collect())
}

/// Whether somebody listens on a port of this node, whom CRIU would meet only once all is written.
/// Nobody listens here for that.
fn is_taken(port: u16) -> bool {
    let probe = || -> nix::Result<()> {
        let probe = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(&probe, ReuseAddr, &true)?;
        let anywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        bind(probe.as_raw_fd(), &SockaddrIn::from(anywhere))
    };
    probe() == Err(Errno::EADDRINUSE)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use stillframe_crds::checkpoint::Peer;

    use super::*;

    fn options(peers: &[&str]) -> Options {
        Options {
            lazy_pages: true,
            lazy_peers: peers.iter().map(|peer| Peer((*peer).to_owned())).collect(),
            ..Options::default()
        }
    }

    fn at(address: &str) -> Target {
        Target {
            address: address.to_owned(),
            port: 27_277,
            tls: false,
            receiver: None,
        }
    }

    fn allow(list: &[&str]) -> Allowances {
        Allowances {
            allowed: list.iter().map(|text| text.parse().unwrap()).collect(),
            keys: None,
        }
    }

    fn who(list: &[&str], of: &[&str]) -> Result<Vec<String>, Reason> {
        match peers(&options(of), &at("0.0.0.0"), &allow(list)) {
            Ok(peers) => Ok(peers.iter().map(ToString::to_string).collect()),
            Err(failed) => Err(failed.reason()),
        }
    }

    #[test]
    fn memory_is_fetched_only_by_those_it_may_be_sent_to() {
        let all = &["10.0.0.0/24", "10.1.0.7", "10.2.0.7:9"];
        let fetched = who(all, &["10.0.0.8", "10.0.0.128/25", "10.1.0.7"]).unwrap();
        assert_eq!(fetched, ["10.0.0.8/32", "10.0.0.128/25", "10.1.0.7/32"]);
        for peer in [
            "10.0.1.8",
            "10.0.0.0/23",
            "127.0.0.1",
            "10.2.0.7",
            "fd00::8",
        ] {
            let refused = who(all, &["10.0.0.8", peer]);
            assert_eq!(refused, Err(Reason::PageServerNotAllowed), "{peer}");
        }
        assert_eq!(who(&[], &["10.0.0.8"]), Err(Reason::PageServerNotAllowed));
        assert_eq!(who(all, &[]), Err(Reason::InvalidSpec));
        assert_eq!(who(all, &["host"]), Err(Reason::InvalidSpec));
    }

    #[test]
    fn encryption_needs_keys() {
        let server = Target {
            tls: true,
            ..at("0.0.0.0")
        };
        let options = options(&["10.0.0.8"]);
        let failed = admitted(&options, &server, &allow(&["10.0.0.8"]), None).unwrap_err();
        assert_eq!(failed.reason(), Reason::PageServerKeysMissing);
    }

    #[test]
    fn an_address_has_to_be_the_node_s_own_and_one_that_criu_serves_at() {
        let here = Found {
            addresses: ["127.0.0.1", "10.0.0.7", "fd00::7"]
                .map(|text| text.parse().unwrap())
                .into(),
            ..Found::default()
        };
        let node = Some("10.0.0.7".parse().unwrap());
        let asked = |address: &str, known_by, found: &Found| {
            let server = at(address);
            served(&server, known_by, found)
                .map(|address| (address, told(&server, known_by)))
                .map_err(|failed| (failed.reason(), failed.failure.message))
        };
        assert_eq!(asked("0.0.0.0", node, &here), Ok((None, node)));
        assert_eq!(asked("10.0.0.7", None, &here), Ok((node, node)));
        let loopback = Some("127.0.0.1".parse().unwrap());
        assert_eq!(asked("127.0.0.1", node, &here), Ok((loopback, loopback)));
        let six = Some("fd00::7".parse().unwrap());
        for (address, known_by, says) in [
            ("10.0.0.8", node, "no address of this node"),
            ("node-a", node, "no IP address"),
            ("fd00::7", node, "IPv4 addresses alone"),
            ("0.0.0.0", six, "IPv4 addresses alone"),
        ] {
            let (reason, message) = asked(address, known_by, &here).unwrap_err();
            assert_eq!(reason, Reason::InvalidSpec);
            assert!(message.contains(says), "{message}");
        }
        let taken = Found {
            taken: true,
            ..here.clone()
        };
        let (reason, message) = asked("0.0.0.0", node, &taken).unwrap_err();
        assert_eq!(reason, Reason::InvalidSpec);
        assert!(message.contains("27277 is taken"), "{message}");
        let small = Found {
            pipes: Some("small".into()),
            ..here
        };
        let (reason, _) = asked("0.0.0.0", node, &small).unwrap_err();
        assert_eq!(reason, Reason::NoLazyPages);
    }

    #[test]
    fn a_port_is_taken_while_somebody_listens_there() {
        let listens = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listens.local_addr().unwrap().port();
        assert!(is_taken(port));
        drop(listens);
        assert!(!is_taken(port));
    }

    #[test]
    fn this_node_has_a_loopback_address() {
        let all = addresses().unwrap();
        assert!(all.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{all:?}");
    }
}
