//! CRIU's version, and the number that runc makes of it.

use std::{cmp::Ordering, fmt};

use super::messages::CriuVersion;

/// CRIU's version. Compared by [`Version::number`].
#[derive(Debug, Clone)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number, 0 when CRIU names none.
    pub sublevel: u32,
    /// Set in a development build.
    pub gitid: Option<String>,
}

impl Version {
    /// A release of this number.
    #[must_use]
    pub fn release(major: u32, minor: u32, sublevel: u32) -> Self {
        Self {
            major,
            minor,
            sublevel,
            gitid: None,
        }
    }

    /// `major * 10000 + minor * 100 + sublevel`, a development build rounded up to the next minor:
    /// mirrors `GetCriuVersion` of go-criu v8, which runc 1.5.2 compares.
    #[must_use]
    pub fn number(&self) -> u32 {
        let number = self
            .major
            .saturating_mul(10_000)
            .saturating_add(self.minor.saturating_mul(100))
            .saturating_add(self.sublevel);
        if self.gitid.as_deref().is_none_or(str::is_empty) {
            number
        } else {
            (number - number % 100).saturating_add(100)
        }
    }
}

impl From<CriuVersion> for Version {
    fn from(version: CriuVersion) -> Self {
        let natural = |number: i32| u32::try_from(number).unwrap_or(0);
        Self {
            major: natural(version.major_number),
            minor: natural(version.minor_number),
            sublevel: natural(version.sublevel.unwrap_or(0)),
            gitid: version.gitid.filter(|id| !id.is_empty()),
        }
    }
}

impl fmt::Display for Version {
    /// `4.2.1`, or `4.2` where there is no third number, as CRIU prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.sublevel != 0 {
            write!(f, ".{}", self.sublevel)?;
        }
        Ok(())
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_numbered_as_runc_numbers_it() {
        assert_eq!(Version::release(4, 2, 1).number(), 40_201);
        assert_eq!(Version::release(3, 0, 0).number(), 30_000);
        assert!(Version::release(3, 19, 0) < Version::release(4, 0, 0));
    }

    #[test]
    fn a_development_build_counts_as_the_next_minor() {
        let built = Version {
            gitid: Some("v3.11-7-gabc".to_owned()),
            ..Version::release(3, 11, 2)
        };
        assert_eq!(built.number(), 31_200);
        let empty = Version {
            gitid: Some(String::new()),
            ..Version::release(3, 11, 2)
        };
        assert_eq!(empty.number(), 31_102);
    }

    #[test]
    fn it_prints_as_criu_prints_it() {
        assert_eq!(Version::release(4, 2, 1).to_string(), "4.2.1");
        assert_eq!(Version::release(4, 2, 0).to_string(), "4.2");
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let wild = CriuVersion {
            major_number: i32::MAX,
            minor_number: -1,
            sublevel: Some(i32::MIN),
            gitid: Some("x".to_owned()),
            ..CriuVersion::default()
        };
        assert!(Version::from(wild).number() > 40_000);
    }
}
