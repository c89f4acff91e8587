//! Replaces in what `kubectl describe` prints all that differs from run to run.

use serde_json::Value;

/// Keys whose numbers are the same each time.
const STABLE: [&str; 8] = [
    "Attempts",
    "Criu Errno",
    "Generation",
    "Max Pause Seconds",
    "Observed Generation",
    "Port",
    "Timeout Seconds",
    "Ttl Seconds After Finished",
];

/// The reason of the condition Ready of an object.
pub(crate) fn reason(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Ready");
    let reason = ready.and_then(|ready| ready["reason"].as_str());
    reason.unwrap_or_default().to_owned()
}

/// The text of every run.
pub(crate) fn of(text: &str) -> String {
    let mut lines = Vec::new();
    let (mut events, mut log) = (false, false);
    for line in text.lines() {
        events |= line.starts_with("Events:");
        // The lines of CRIU's log are a list, which is indented more.
        log = line.trim() == "Log:" || log && line.starts_with("      ");
        let of_criu = log || line.contains("CRIU says: ");
        let line = if events { event(line) } else { field(line) };
        lines.push(words(&line, of_criu));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// A line of the table of events: its columns are as wide as their widest, and their age passes.
fn event(line: &str) -> String {
    let columns: Vec<&str> = line.split_whitespace().collect();
    match columns.as_slice() {
        [kind @ ("Normal" | "Warning"), reason, _, rest @ ..] => {
            format!("  {kind} {reason} AGE {}", rest.join(" "))
        }
        ["Type" | "----", ..] => format!("  {}", columns.join(" ")),
        _ => line.trim_end().to_owned(),
    }
}

/// A line that is a number alone.
fn field(line: &str) -> String {
    let Some((key, value)) = line.split_once(':') else {
        return line.to_owned();
    };
    let number = !value.trim().is_empty() && value.trim().bytes().all(|b| b.is_ascii_digit());
    if number && !STABLE.contains(&key.trim()) {
        let blanks = value.len() - value.trim_start().len();
        return format!("{key}:{}N", &value[..blanks]);
    }
    if key.trim() == "Version" {
        return format!("{key}:  VERSION");
    }
    line.to_owned()
}

/// Replaces words that are times, identities, sizes and CRIU's numbers.
fn words(line: &str, of_criu: bool) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let fresh = !out.chars().next_back().is_some_and(char::is_alphanumeric);
        if let Some((length, word)) = fresh.then(|| word(rest, of_criu)).flatten() {
            out.push_str(word);
            rest = &rest[length..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The length of the word at the start and what stands for it, if it differs from run to run.
fn word(text: &str, of_criu: bool) -> Option<(usize, &'static str)> {
    let end = |allowed: fn(char) -> bool| text.find(|c| !allowed(c)).unwrap_or(text.len());
    let hex = end(|c| c.is_ascii_hexdigit() || c == '-');
    let is_uid = hex == 36 && text[..hex].matches('-').count() == 4;
    if is_uid {
        return Some((hex, "UID"));
    }
    if hex == 64 {
        return Some((hex, "HEX"));
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = end(|c| c.is_ascii_digit() || c == '.');
    let (digits, unit) = (&text[..number], &text[number..]);
    let ends = |unit: &str, name: &str| {
        unit.strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    if number == 4 && text.as_bytes().get(10) == Some(&b'T') {
        return text.find('Z').map(|end| (end + 1, "TIME"));
    }
    for name in ["Ki", "Mi", "Gi"] {
        if digits.contains('.') && ends(unit, name) {
            return Some((number + 2, "SIZE"));
        }
    }
    if ends(unit, "ms") {
        return Some((number + 2, "PAUSE"));
    }
    if digits.contains('.') && ends(unit, "s") {
        return Some((number + 1, "PAUSE"));
    }
    let hexadecimal = text.strip_prefix("0x").map(|digits| {
        let end = digits.find(|c: char| !c.is_ascii_hexdigit());
        2 + end.unwrap_or(digits.len())
    });
    of_criu.then_some((hexadecimal.unwrap_or(number), "N"))
}
