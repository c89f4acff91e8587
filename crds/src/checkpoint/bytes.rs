//! A number of bytes as people write it.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes: digits, and `Ki`, `Mi` or `Gi` behind them where wanted.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(transparent)]
pub struct ByteCount(
    #[schemars(
        length(min = 1, max = 12),
        regex(pattern = r"^[0-9]{1,10}(Ki|Mi|Gi)?$")
    )]
    pub String,
);

/// A text that is no number of bytes, or one that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidByteCount(String);

impl fmt::Display for InvalidByteCount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            out,
            "invalid number of bytes {text:?}: use digits with Ki, Mi or Gi, below 4Gi"
        )
    }
}

impl std::error::Error for InvalidByteCount {}

impl ByteCount {
    /// The number, which CRIU takes in 32 bits.
    ///
    /// # Errors
    /// When the text is no such number, or needs more than 32 bits.
    pub fn bytes(&self) -> Result<u32, InvalidByteCount> {
        let invalid = || InvalidByteCount(self.0.clone());
        let digits = self.0.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit: u64 = match &self.0[digits.len()..] {
            "" => 1,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return Err(invalid()),
        };
        let number = u64::from_str(digits).map_err(|_| invalid())?;
        let bytes = number.checked_mul(unit).ok_or_else(invalid)?;
        u32::try_from(bytes).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_and_without_a_unit_are_read() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("1Mi", 1 << 20), ("3Gi", 3 << 30)] {
            assert_eq!(ByteCount(text.into()).bytes(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_refused_by_name() {
        for text in [
            "",
            "Mi",
            "1M",
            "-1",
            "4Gi",
            "99999999999",
            "1 Mi",
            "0x10",
            "1Mi2",
        ] {
            let error = ByteCount(text.into()).bytes().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }
}
