//! The three forms of a logrus v1.9.4 line: text, text on a terminal, JSON.

use std::{fmt::Write as _, time::Duration};

use jiff::Zoned;

use crate::cli::golang::quote::quote;

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `key=value` pairs, or colours on a terminal.
    Text,
    /// One object a line.
    Json,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The four letters and the colour of a terminal.
    fn badge(self) -> (&'static str, u8) {
        match self {
            Self::Trace => ("TRAC", 37),
            Self::Debug => ("DEBU", 37),
            Self::Info => ("INFO", 36),
            Self::Warning => ("WARN", 33),
            Self::Error => ("ERRO", 31),
        }
    }
}

/// One line of the log before it has a form.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) level: Level,
    pub(super) message: String,
    /// Names and values; sorted when written.
    pub(super) fields: Vec<(String, String)>,
}

/// Where a line comes from; shown with `--debug`.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    pub(super) function: String,
    pub(super) file: String,
}

impl Entry {
    /// The fields sorted, those moved aside that have a name of logrus's own
    /// (`prefixFieldClashes`).
    fn sorted(&self, with_caller: bool) -> Vec<(String, &str)> {
        let own: &[&str] = if with_caller {
            &["time", "msg", "level", "logrus_error", "func", "file"]
        } else {
            &["time", "msg", "level", "logrus_error"]
        };
        let name = |name: &str| {
            if own.contains(&name) {
                format!("fields.{name}")
            } else {
                name.to_owned()
            }
        };
        let mut fields: Vec<_> = self
            .fields
            .iter()
            .map(|(key, value)| (name(key), value.as_str()))
            .collect();
        fields.sort();
        fields
    }
}

/// RFC 3339 to the second, `Z` where the offset is zero.
fn timestamp(now: &Zoned) -> String {
    let zulu = now.offset().is_zero();
    now.strftime(if zulu {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S%:z"
    })
    .to_string()
}

/// `key=value` pairs: time, level, message, caller, then the fields.
pub(super) fn text(entry: &Entry, caller: Option<&Caller>, now: &Zoned) -> String {
    let time = timestamp(now);
    let mut pairs = vec![("time".to_owned(), time.as_str())];
    pairs.push(("level".to_owned(), entry.level.name()));
    if !entry.message.is_empty() {
        pairs.push(("msg".to_owned(), &entry.message));
    }
    if let Some(Caller { function, file }) = caller {
        pairs.push(("func".to_owned(), function));
        pairs.push(("file".to_owned(), file));
    }
    pairs.extend(entry.sorted(caller.is_some()));
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", word(value)))
        .collect();
    pairs.join(" ") + "\n"
}

/// A value, quoted unless every character is harmless (`needsQuoting`).
fn word(value: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if value.chars().all(harmless) {
        value.to_owned()
    } else {
        quote(value.as_bytes())
    }
}

/// A terminal's line: level in colour, seconds since the start, message padded to 44 characters.
pub(super) fn colored(entry: &Entry, caller: Option<&Caller>, elapsed: Duration) -> String {
    let (badge, color) = entry.level.badge();
    let message = entry.message.strip_suffix('\n').unwrap_or(&entry.message);
    let place = caller.map_or_else(String::new, |Caller { function, file }| {
        format!("{file} {function}")
    });
    let seconds = elapsed.as_secs();
    let mut line = format!("\x1b[{color}m{badge}\x1b[0m[{seconds:04}]{place} {message:<44} ");
    for (key, value) in entry.sorted(caller.is_some()) {
        // Writing to a String cannot fail.
        let _ = write!(line, " \x1b[{color}m{key}\x1b[0m={}", word(value));
    }
    line + "\n"
}

/// An object with sorted keys, escaped as Go's `encoding/json` does by default.
pub(super) fn json(entry: &Entry, caller: Option<&Caller>, now: &Zoned) -> String {
    let time = timestamp(now);
    let mut pairs = entry.sorted(caller.is_some());
    pairs.push(("time".to_owned(), &time));
    pairs.push(("level".to_owned(), entry.level.name()));
    pairs.push(("msg".to_owned(), &entry.message));
    if let Some(Caller { function, file }) = caller {
        pairs.push(("func".to_owned(), function));
        pairs.push(("file".to_owned(), file));
    }
    pairs.sort();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{}:{}", json_text(key), json_text(value)))
        .collect();
    format!("{{{}}}\n", pairs.join(","))
}

fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message: &str, fields: &[(&str, &str)]) -> Entry {
        let fields = fields
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Entry {
            level: Level::Error,
            message: message.to_owned(),
            fields,
        }
    }

    fn caller() -> Caller {
        Caller {
            function: "main.fatal()".into(),
            file: "utils.go:62".into(),
        }
    }

    fn at(time: &str) -> Zoned {
        time.parse().unwrap()
    }

    #[test]
    fn text_is_key_and_value() {
        let now = at("2026-11-23T19:00:00[UTC]");
        for (entry, want) in [
            (entry("two words", &[]), r#"level=error msg="two words""#),
            (entry("word", &[]), "level=error msg=word"),
            (entry("", &[]), "level=error"),
            (entry("nl\n", &[]), r#"level=error msg="nl\n""#),
            (
                entry("a-b.c_d/e@f^g+h", &[]),
                "level=error msg=a-b.c_d/e@f^g+h",
            ),
            (
                entry("m", &[("b", "2 3"), ("a", ""), ("msg", "x")]),
                r#"level=error msg=m a= b="2 3" fields.msg=x"#,
            ),
        ] {
            assert_eq!(
                text(&entry, None, &now),
                format!("time=\"2026-11-23T19:00:00Z\" {want}\n")
            );
        }
        assert_eq!(
            text(
                &entry("m", &[]),
                Some(&caller()),
                &at("2026-11-23T19:00:00+05:30[Asia/Kolkata]")
            ),
            "time=\"2026-11-23T19:00:00+05:30\" level=error msg=m func=\"main.fatal()\" \
             file=\"utils.go:62\"\n"
        );
    }

    #[test]
    fn a_terminal_gets_colour_and_a_padded_message() {
        let line = colored(&entry("short\n", &[]), None, Duration::from_secs(3));
        assert_eq!(
            line,
            format!("\x1b[31mERRO\x1b[0m[0003] {:<44} \n", "short")
        );
        let line = colored(
            &entry("m", &[("k", "v w")]),
            Some(&caller()),
            Duration::ZERO,
        );
        let want = format!(
            "\x1b[31mERRO\x1b[0m[0000]utils.go:62 main.fatal() {:<44}  \x1b[31mk\x1b[0m=\"v w\"\n",
            "m"
        );
        assert_eq!(line, want);
    }

    #[test]
    fn json_has_sorted_keys_and_go_escapes() {
        let now = at("2026-11-23T19:00:00[UTC]");
        assert_eq!(
            json(&entry("<a> & \"b\"\n\u{1}\u{2028}", &[]), None, &now),
            "{\"level\":\"error\",\"msg\":\"\\u003ca\\u003e \\u0026 \\\"b\\\"\\n\\u0001\\u2028\",\
             \"time\":\"2026-11-23T19:00:00Z\"}\n"
        );
        assert_eq!(
            json(&entry("m", &[("a", "1")]), Some(&caller()), &now),
            "{\"a\":\"1\",\"file\":\"utils.go:62\",\"func\":\"main.fatal()\",\"level\":\"error\",\
             \"msg\":\"m\",\"time\":\"2026-11-23T19:00:00Z\"}\n"
        );
    }
}
