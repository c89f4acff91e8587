//! Go's number and duration spellings, with the two errors that its flags tell apart.

use std::time::Duration;

/// Why a number was refused; the text is what Go's `flag` package prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    /// Not a number in this base.
    #[error("parse error")]
    Syntax,
    /// A number that does not fit.
    #[error("value out of range")]
    Range,
}

/// `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &[u8]) -> Result<bool, NumberError> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
        _ => Err(NumberError::Syntax),
    }
}

/// `strconv.ParseInt(text, 0, 64)`: a base prefix and underscores between digits are allowed.
pub(crate) fn parse_int(text: &[u8]) -> Result<i64, NumberError> {
    let (negative, digits) = sign(text);
    signed(negative, magnitude(digits, true)?)
}

/// `strconv.Atoi`: base ten and nothing else.
pub(crate) fn parse_decimal(text: &[u8]) -> Result<i64, NumberError> {
    let (negative, digits) = sign(text);
    signed(negative, magnitude(digits, false)?)
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

fn signed(negative: bool, magnitude: u64) -> Result<i64, NumberError> {
    let value = i128::from(magnitude);
    i64::try_from(if negative { -value } else { value }).map_err(|_| NumberError::Range)
}

/// `strconv.ParseUint` with base 0 (`prefixes`) or 10.
fn magnitude(text: &[u8], prefixes: bool) -> Result<u64, NumberError> {
    let (base, digits) = match text {
        [] => return Err(NumberError::Syntax),
        [b'0', b'b' | b'B', rest @ ..] if prefixes && !rest.is_empty() => (2, rest),
        [b'0', b'o' | b'O', rest @ ..] if prefixes && !rest.is_empty() => (8, rest),
        [b'0', b'x' | b'X', rest @ ..] if prefixes && !rest.is_empty() => (16, rest),
        [b'0', rest @ ..] if prefixes => (8, rest),
        _ => (10, text),
    };
    let mut value: u64 = 0;
    for byte in digits.iter().filter(|byte| !(prefixes && **byte == b'_')) {
        let digit = char::from(*byte)
            .to_digit(base)
            .ok_or(NumberError::Syntax)?;
        value = value
            .checked_mul(u64::from(base))
            .and_then(|value| value.checked_add(u64::from(digit)))
            .ok_or(NumberError::Range)?;
    }
    if digits.contains(&b'_') && !underscores_separate_digits(text) {
        return Err(NumberError::Syntax);
    }
    Ok(value)
}

/// `underscoreOK`: each underscore stands between digits, a base prefix counting as one.
fn underscores_separate_digits(text: &[u8]) -> bool {
    let prefixed = matches!(text, [b'0', b'b' | b'B' | b'o' | b'O' | b'x' | b'X', ..]);
    let body = if prefixed { &text[2..] } else { text };
    let mut after_digit = prefixed;
    for byte in body {
        if *byte == b'_' && !after_digit {
            return false;
        }
        after_digit = *byte != b'_';
    }
    after_digit
}

/// A bound in time: what Go's `time.ParseDuration` takes, or a bare number of seconds.
/// Negative ones are refused; zero stands for no bound.
pub(crate) fn parse_bound(text: &str) -> Result<Option<Duration>, NumberError> {
    let bound = match text.parse::<u32>() {
        Ok(seconds) => Duration::from_secs(u64::from(seconds)),
        Err(_) => parse_duration(text)?,
    };
    Ok((!bound.is_zero()).then_some(bound))
}

fn parse_duration(text: &str) -> Result<Duration, NumberError> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(NumberError::Syntax);
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (value, tail) = rest.split_at(number);
        let unit = tail
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let value: f64 = value.parse().map_err(|_| NumberError::Syntax)?;
        let seconds = value * unit_seconds(unit).ok_or(NumberError::Syntax)?;
        total = Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|part| total.checked_add(part))
            .ok_or(NumberError::Range)?;
        rest = tail;
    }
    Ok(total)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-9),
        "us" | "µs" | "μs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    }
}

/// A number of bytes: decimal, with CRIU's `K`, `M`, `G` or Kubernetes' `Ki`, `Mi`, `Gi`, all of
/// them powers of 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<u32, NumberError> {
    let digits = text.trim_end_matches('i').trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "Ki" => 10,
        "M" | "Mi" => 20,
        "G" | "Gi" => 30,
        _ => return Err(NumberError::Syntax),
    };
    let value = u64::try_from(parse_decimal(digits.as_bytes())?).map_err(|_| NumberError::Range)?;
    value
        .checked_mul(1 << shift)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .ok_or(NumberError::Range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_integers_as_go_does() {
        for (text, want) in [
            ("0", Ok(0)),
            ("-1", Ok(-1)),
            ("+7", Ok(7)),
            ("0x1F", Ok(31)),
            ("0664", Ok(0o664)),
            ("0o17", Ok(15)),
            ("0b101", Ok(5)),
            ("1_000", Ok(1000)),
            ("0_7", Ok(7)),
            ("0x_f", Ok(15)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(NumberError::Range)),
            ("99999999999999999999", Err(NumberError::Range)),
            ("", Err(NumberError::Syntax)),
            ("-", Err(NumberError::Syntax)),
            ("08", Err(NumberError::Syntax)),
            ("0x", Err(NumberError::Syntax)),
            ("1__0", Err(NumberError::Syntax)),
            ("1_", Err(NumberError::Syntax)),
            ("_1", Err(NumberError::Syntax)),
            ("1.5", Err(NumberError::Syntax)),
            (" 1", Err(NumberError::Syntax)),
        ] {
            assert_eq!(parse_int(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn reads_ports_in_base_ten_only() {
        assert_eq!(parse_decimal(b"080"), Ok(80));
        assert_eq!(parse_decimal(b"+80"), Ok(80));
        assert_eq!(parse_decimal(b"0x50"), Err(NumberError::Syntax));
        assert_eq!(parse_decimal(b"8_0"), Err(NumberError::Syntax));
        assert_eq!(parse_decimal(b""), Err(NumberError::Syntax));
    }

    #[test]
    fn reads_bounds_in_go_durations_or_seconds() {
        let seconds = |s| Ok(Some(Duration::from_secs_f64(s)));
        for (text, want) in [
            ("30s", seconds(30.0)),
            ("30", seconds(30.0)),
            ("1m30s", seconds(90.0)),
            ("1.5h", seconds(5400.0)),
            ("250ms", seconds(0.25)),
            (".5s", seconds(0.5)),
            ("0", Ok(None)),
            ("0s", Ok(None)),
            ("-1s", Err(NumberError::Syntax)),
            ("", Err(NumberError::Syntax)),
            ("s", Err(NumberError::Syntax)),
            ("1.5", Err(NumberError::Syntax)),
            ("3d", Err(NumberError::Syntax)),
        ] {
            assert_eq!(parse_bound(text), want, "{text:?}");
        }
    }

    #[test]
    fn reads_sizes_with_binary_suffixes() {
        for (text, want) in [
            ("0", Ok(0)),
            ("1048576", Ok(1 << 20)),
            ("1M", Ok(1 << 20)),
            ("64Ki", Ok(64 << 10)),
            ("3G", Ok(3 << 30)),
            ("4G", Err(NumberError::Range)),
            ("-1", Err(NumberError::Range)),
            ("1i", Err(NumberError::Syntax)),
            ("1KK", Err(NumberError::Syntax)),
            ("M", Err(NumberError::Syntax)),
            ("", Err(NumberError::Syntax)),
        ] {
            assert_eq!(parse_bytes(text), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_any_text(text in ".*") {
            let _ = (parse_int(text.as_bytes()), parse_bound(&text), parse_bytes(&text));
        }

        #[test]
        fn reads_back_every_decimal(value: i64) {
            prop_assert_eq!(parse_decimal(value.to_string().as_bytes()), Ok(value));
        }
    }
}
