//! What `page-server` prints: lines for people, or a JSON object in each line.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use serde::Serialize;
use serde_json::json;

use crate::{
    controller::failed::chain,
    receive::{Error, Observer, Report},
};

/// Prints on stdout where it listens and what has come of it, and on stderr what is no result.
#[derive(Debug)]
pub(super) struct Printer {
    json: bool,
}

/// What is printed of a failure.
#[derive(Debug, Serialize)]
struct Failed<'a> {
    reason: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn received(&self, report: &Report) -> io::Result<()> {
        if self.json {
            return say(&json!({"received": report}).to_string());
        }
        say(&format!(
            "received {} pages from {}: {} bytes in {} files in {}, {}",
            report.pages,
            report.peer,
            report.size_bytes,
            report.files,
            report.image_path.display(),
            report.digest
        ))
    }

    pub(super) fn failed(&self, error: &Error) {
        let failure = Failed {
            reason: error.reason(),
            message: chain(error),
            hint: error.hint(),
        };
        if self.json {
            // Whoever does not read it any more has the exit status.
            let _ = say(&json!({"failure": failure}).to_string());
        }
        let hint = failure
            .hint
            .map_or_else(String::new, |hint| format!("; {hint}"));
        tell(&format!("{}{hint}", failure.message));
    }
}

impl Observer for Printer {
    fn listening(&mut self, address: SocketAddr) {
        let line = if self.json {
            let (address, port) = (address.ip(), address.port());
            json!({"listening": {"address": address, "port": port}}).to_string()
        } else {
            format!("listening on {address}")
        };
        // Who sends finds out whether it is so.
        let _ = say(&line);
    }

    fn refused(&mut self, peer: SocketAddr, why: &str) {
        tell(&format!("passed over {peer}: {why}"));
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn tell(line: &str) {
    // A closed stderr changes nothing about it.
    let _ = writeln!(io::stderr(), "page-server: {line}");
}
