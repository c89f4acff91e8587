//! Whether the disk can hold an image, decided before a dump begins.

use std::{fmt, path::Path, str::FromStr};

use nix::{errno::Errno, sys::statvfs::statvfs};
use stillframe_crds::Reason;

mod footprint;
mod free;
mod quota;

pub use footprint::{Footprint, MemoryGoes};
pub use free::{FreeBytes, coarse};
pub use quota::{LimitExceeded, NamespaceLimit, Promise, Promises};

/// What is kept free unless the administrator says otherwise, in percent. The kubelet begins to
/// collect images and to evict pods when 15 % of the file system of the images are left, and 10 %
/// of its own (`defaults_linux.go` in its eviction package); on most nodes both are one.
const DEFAULT_PERCENT: u8 = 17;

/// A file system's size and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub total: u64,
    /// Bytes that may still be written without root's own reserve, as the kubelet counts them.
    pub free: u64,
}

/// A file system could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("failed to ask for the free space of {path}")]
pub struct Error {
    path: String,
    source: Errno,
}

impl Error {
    /// The stable word for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::ImagePathUnusable
    }
}

impl Space {
    /// The file system that a path lies on.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let found = statvfs(path).map_err(|source| Error {
            path: path.display().to_string(),
            source,
        })?;
        let unit = found.fragment_size();
        Ok(Self {
            total: found.blocks().saturating_mul(unit),
            free: found.blocks_available().saturating_mul(unit),
        })
    }

    /// What images may take.
    #[must_use]
    pub fn usable(self, reserve: Reserve) -> u64 {
        self.free.saturating_sub(reserve.of(self.total))
    }
}

/// What is kept free of images: `--reserve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// So much of the file system, in percent; at most 100.
    Percent(u8),
    /// So many bytes.
    Bytes(u64),
}

impl Reserve {
    /// The bytes of it on a file system of this size.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            // A byte more or less for the sake of no overflow.
            Self::Percent(percent) => (total / 100).saturating_mul(u64::from(percent)),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self::Percent(DEFAULT_PERCENT)
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(out, "{percent}%"),
            Self::Bytes(bytes) => write!(out, "{bytes}"),
        }
    }
}

/// A text that is no reserve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reserve {0:?}: use a percentage such as 10%, or bytes such as 5Gi")]
pub struct InvalidReserve(String);

impl FromStr for Reserve {
    type Err = InvalidReserve;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidReserve(text.to_owned());
        if let Some(digits) = text.strip_suffix('%') {
            let percent = plain(digits).and_then(|number| u8::try_from(number).ok());
            return percent
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(invalid);
        }
        bytes(text).map(Self::Bytes).map_err(|_| invalid())
    }
}

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid size {0:?}: use bytes such as 10Gi, or off")]
pub struct InvalidSize(String);

/// Digits and nothing else.
fn plain(digits: &str) -> Option<u64> {
    let number = digits.parse().ok();
    number.filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Bytes as Kubernetes writes them, with a binary unit or none.
fn bytes(text: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize(text.to_owned());
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(invalid()),
    };
    let bytes = plain(digits).and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(invalid)
}

/// The image may not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the image may take {}, and the disk has {} free of which {} stay free ({rule})",
    readable(*needed),
    readable(*free),
    readable(*reserve)
)]
pub struct InsufficientSpace {
    /// What the image may take, in bytes.
    pub needed: u64,
    /// What is free.
    pub free: u64,
    /// What has to stay free.
    pub reserve: u64,
    /// The reserve as it was configured.
    pub rule: Reserve,
}

impl InsufficientSpace {
    /// The stable word for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::InsufficientSpace
    }
}

/// Whether an image of `needed` bytes leaves the reserve untouched.
///
/// # Errors
/// It does not.
pub fn fits(space: Space, reserve: Reserve, needed: u64) -> Result<(), InsufficientSpace> {
    if needed <= space.usable(reserve) {
        return Ok(());
    }
    Err(InsufficientSpace {
        needed,
        free: space.free,
        reserve: reserve.of(space.total),
        rule: reserve,
    })
}

/// Bytes for people: `512 B`, `1.5 MiB`.
#[must_use]
pub fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(power) = bytes.checked_ilog2().map(|log| log / 10).filter(|p| *p > 0) else {
        return format!("{bytes} B");
    };
    let unit = UNITS.get(power as usize - 1).copied().unwrap_or_default();
    let tenths = u128::from(bytes) * 10 / (1 << (10 * power));
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn reserves_are_read_and_others_refused_by_name() {
        for (text, reserve) in [
            ("10%", Reserve::Percent(10)),
            ("0%", Reserve::Percent(0)),
            ("100%", Reserve::Percent(100)),
            ("0", Reserve::Bytes(0)),
            ("5Gi", Reserve::Bytes(5 * GIB)),
            ("2Ti", Reserve::Bytes(2048 * GIB)),
        ] {
            assert_eq!(text.parse(), Ok(reserve), "{text}");
        }
        for text in [
            "",
            "%",
            "101%",
            "-1",
            "+5",
            "5G",
            "Gi",
            "1.5Gi",
            "10 %",
            "99999999999Ti",
        ] {
            let error = text.parse::<Reserve>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn what_is_left_has_to_hold_the_reserve() {
        let space = |total, free| Space {
            total: total * GIB,
            free: free * GIB,
        };
        let cases = [
            (space(100, 50), Reserve::Percent(12), 38, true),
            (space(100, 50), Reserve::Percent(12), 39, false),
            (space(100, 50), Reserve::Bytes(5 * GIB), 45, true),
            (space(100, 50), Reserve::Bytes(5 * GIB), 46, false),
            (space(100, 5), Reserve::Percent(12), 1, false),
            (space(0, 0), Reserve::Bytes(0), 1, false),
            (space(0, 0), Reserve::Percent(100), 0, true),
        ];
        for (space, reserve, needed, fit) in cases {
            // A whole percent of 100 GiB may be 99 bytes short.
            let answer = fits(space, reserve, needed * GIB);
            assert_eq!(answer.is_ok(), fit, "{space:?} {reserve} {needed}");
        }
    }

    #[test]
    fn a_refusal_tells_all_three_numbers() {
        let space = Space {
            total: 100 * GIB,
            free: 15 * GIB + GIB / 2,
        };
        let error = fits(space, Reserve::Bytes(12 * GIB), 4 * GIB).unwrap_err();
        assert_eq!(error.reason(), Reason::InsufficientSpace);
        assert_eq!(
            error.to_string(),
            "the image may take 4.0 GiB, and the disk has 15.5 GiB free of which 12.0 GiB stay \
             free (12884901888)"
        );
    }

    #[test]
    fn bytes_are_written_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536 * 1024, "1.5 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }

    #[test]
    fn a_file_system_tells_its_space() {
        let space = Space::of(Path::new("/")).unwrap();
        assert!(space.total > 0 && space.free <= space.total);
        assert!(Space::of(Path::new("/nonexistent")).is_err());
    }
}
