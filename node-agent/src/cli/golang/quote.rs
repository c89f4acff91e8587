//! Go's `%q`: a string between double quotes, on one line.

use std::{fmt::Write as _, str};

/// Quotes `text` as Go's `strconv.Quote` does; bytes that are no UTF-8 become `\xNN`.
pub(crate) fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_char(&mut out, c));
        chunk
            .invalid()
            .iter()
            .for_each(|byte| push_hex(&mut out, u32::from(*byte), 2, 'x'));
    }
    out.push('"');
    out
}

fn push_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        '\'' => out.push('\''),
        c if c < ' ' || c == '\u{7f}' => push_hex(out, u32::from(c), 2, 'x'),
        // Rust escapes what it holds unprintable, and some combining marks, which Go prints.
        c if c.is_alphanumeric() || c.escape_debug().len() == 1 => out.push(c),
        c if u32::from(c) < 0x1_0000 => push_hex(out, u32::from(c), 4, 'u'),
        c => push_hex(out, u32::from(c), 8, 'U'),
    }
}

fn push_hex(out: &mut String, value: u32, width: usize, letter: char) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\{letter}{value:0width$x}");
}

/// What Go prints for a string of unknown bytes with `%s`, as far as a Rust string can hold it.
pub(crate) fn plain(text: &[u8]) -> String {
    str::from_utf8(text).map_or_else(
        |_| String::from_utf8_lossy(text).into_owned(),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (text, want) in [
            (&b"plain"[..], r#""plain""#),
            (b"", r#""""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (
                b"line\nnext\ttab\r\x07\x08\x0b\x0c",
                r#""line\nnext\ttab\r\a\b\v\f""#,
            ),
            (b"\x01\x7f", r#""\x01\x7f""#),
            (b"\xff\xfe", r#""\xff\xfe""#),
            ("café 日".as_bytes(), "\"café 日\""),
            ("\u{a0}\u{200b}".as_bytes(), "\"\\u00a0\\u200b\""),
            ("\u{e0001}".as_bytes(), "\"\\U000e0001\""),
            (b"it's", "\"it's\""),
        ] {
            assert_eq!(quote(text), want);
        }
    }
}
