//! What a caller asks of a receiver.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::criu::Tls;

/// Pages that are to be received.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to listen; any free port where the port is 0.
    pub listen: SocketAddr,
    /// Who may send; anybody when empty.
    pub from: Vec<IpAddr>,
    /// The directory of the pages under its final name; must not exist. While they are received it is
    /// called `NAME.partial`.
    pub image: PathBuf,
    /// Where CRIU keeps `page-server.log`; the directory of the pages when unset.
    /// One missing level is created.
    pub work_dir: Option<PathBuf>,
    /// How the connection is kept private; the sender has to show a certificate of the same authority.
    pub tls: Option<Tls>,
    /// Bound on the whole.
    pub timeout: Option<Duration>,
}

impl Request {
    /// Whether somebody at that address may send.
    #[must_use]
    pub(super) fn admits(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.from.is_empty() || self.from.iter().any(|one| one.to_canonical() == peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_named_may_send_once_anybody_is() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let request = |from: &[&str]| Request {
            listen: "[::]:0".parse().unwrap(),
            from: from.iter().map(|text| ip(text)).collect(),
            image: PathBuf::new(),
            work_dir: None,
            tls: None,
            timeout: None,
        };
        for (from, peer, may) in [
            (&[][..], "10.0.0.1", true),
            (&["10.0.0.1"], "10.0.0.1", true),
            (&["10.0.0.1"], "::ffff:10.0.0.1", true),
            (&["10.0.0.1"], "10.0.0.2", false),
            (&["fd00::1", "10.0.0.2"], "10.0.0.2", true),
        ] {
            assert_eq!(request(from).admits(ip(peer)), may, "{from:?} {peer}");
        }
    }
}
