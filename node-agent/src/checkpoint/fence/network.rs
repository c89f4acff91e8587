//! A range of IP addresses.

use std::{fmt, net::IpAddr, str::FromStr};

/// An address, or all that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Without the bits that the prefix leaves open.
    address: IpAddr,
    prefix: u8,
}

/// A text that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a network such as 10.0.0.0/24")]
pub struct InvalidNetwork(String);

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix = prefix.map(str::parse).transpose().map_err(|_| invalid())?;
        Self::new(address, prefix.unwrap_or(bits(address))).ok_or_else(invalid)
    }
}

impl Network {
    /// The addresses that share `prefix` bits with this one; `None` where there are not that many.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let open = bits(address).checked_sub(prefix)?;
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(open.into()).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(open.into()).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        };
        Some(Self { address, prefix })
    }

    /// Whether they are IPv4 addresses.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether every address of `other` is one of these.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && Self::new(other.address, self.prefix) == Some(*self)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn is_written_without_the_bits_that_it_leaves_open() {
        for (text, want) in [
            ("10.0.0.7", "10.0.0.7/32"),
            ("10.0.0.7/24", "10.0.0.0/24"),
            ("10.0.0.7/0", "0.0.0.0/0"),
            ("fd00::7", "fd00::7/128"),
            ("fd00::7/16", "fd00::/16"),
            ("::1/0", "::/0"),
        ] {
            assert_eq!(network(text).to_string(), want);
        }
        for text in [
            "",
            "10.0.0.1/33",
            "10.0.0.1/x",
            "host",
            "10.0.0.1:9",
            "::/129",
            "10.0.0.1/-1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn covers_what_lies_in_it_and_no_more() {
        for (one, other, covers) in [
            ("10.0.0.0/24", "10.0.0.9", true),
            ("10.0.0.0/24", "10.0.0.128/25", true),
            ("10.0.0.0/24", "10.0.0.0/24", true),
            ("10.0.0.0/24", "10.0.0.0/23", false),
            ("10.0.0.0/24", "10.0.1.9", false),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fd12::1", true),
        ] {
            assert_eq!(
                network(one).covers(&network(other)),
                covers,
                "{one} {other}"
            );
        }
    }
}
