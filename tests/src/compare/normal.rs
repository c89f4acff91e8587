//! What may differ between two runs of one program is taken out before they are compared.

use super::Outcome;

/// The outcome with program names, times and, for a dump, CRIU's own words taken out.
#[must_use]
pub fn normalise(outcome: &Outcome, dump: bool) -> Outcome {
    let Outcome {
        status,
        stdout,
        stderr,
        log,
        left,
    } = outcome;
    let text = |text: &str| {
        let text = zero_times(&one_name(text));
        if dump { without_quotes(&text) } else { text }
    };
    Outcome {
        status: *status,
        stdout: text(stdout),
        stderr: text(stderr),
        log: text(log),
        left: left
            .iter()
            .map(|line| if dump { numberless(line) } else { line.clone() })
            .collect(),
    }
}

fn one_name(text: &str) -> String {
    text.replace("stillframe-node-agent", "PROG")
        .replace("runc", "PROG")
}

/// Digits of times become 0, so that their form is still compared.
fn zero_times(text: &str) -> String {
    ["time=\"", "\"time\":\"", "\u{1b}[0m["]
        .iter()
        .fold(text.to_owned(), |text, mark| {
            let mut parts = text.split(mark);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |out, part| {
                let end = part.find(['"', ']']).unwrap_or(part.len());
                let (time, rest) = part.split_at(end);
                let time = time.replace(|c: char| c.is_ascii_digit(), "0");
                out + mark + &time + rest
            })
        })
}

/// Quoted lines of CRIU's log hold pids and times; that there was a quotation stays.
fn without_quotes(text: &str) -> String {
    let keep = |line: &&str| {
        !line.contains("warning") || line.contains("--- Quoting") || line.contains("msg=---")
    };
    text.lines()
        .filter(keep)
        .fold(String::new(), |out, line| out + line + "\n")
}

/// Image files carry pids, mount ids and device numbers in their names.
fn numberless(line: &str) -> String {
    if line.strip_suffix(".img").is_none() {
        return line.to_owned();
    }
    let (head, name) = line.rsplit_once('/').unwrap_or(("", line));
    let mut out = String::new();
    for c in name.chars() {
        match c {
            c if !c.is_ascii_digit() => out.push(c),
            _ if !out.ends_with('N') => out.push('N'),
            _ => {}
        }
    }
    format!("{head}/{out}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_do_not_count() {
        let stderr = "time=\"2026-11-23T19:00:01+05:30\" level=error msg=\"/bin/runc: 7\"\n\
                      {\"msg\":\"x 1\",\"time\":\"2026-11-23T19:00:01Z\"}\n\u{1b}[31mERRO\u{1b}[0m[0012] m\n";
        let outcome = Outcome {
            stderr: stderr.to_owned(),
            ..Outcome::default()
        };
        let want = "time=\"0000-00-00T00:00:00+00:00\" level=error msg=\"/bin/PROG: 7\"\n\
                    {\"msg\":\"x 1\",\"time\":\"0000-00-00T00:00:00Z\"}\n\u{1b}[31mERRO\u{1b}[0m[0000] m\n";
        assert_eq!(normalise(&outcome, false).stderr, want);
    }

    #[test]
    fn a_dump_keeps_the_frame_of_its_quotation() {
        let text = "level=warning msg=\"--- Quoting \\\"d\\\"\"\nlevel=warning msg=\"12:x\"\n\
                    level=warning msg=---\nlevel=error msg=e\n";
        assert_eq!(
            without_quotes(text),
            "level=warning msg=\"--- Quoting \\\"d\\\"\"\nlevel=warning msg=---\nlevel=error msg=e\n"
        );
        assert_eq!(
            numberless("f 644 i/tmpfs-dev-73.tar.gz.img"),
            "f 644 i/tmpfs-dev-N.tar.gz.img"
        );
        assert_eq!(numberless("f 644 i/dump.log"), "f 644 i/dump.log");
    }
}
