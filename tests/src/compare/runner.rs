//! Runs the cases through both programs, one after the other, in the same place.

use std::{fmt::Write as _, fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use super::{Case, Needed, Outcome, judge};
use crate::node::Node;

/// Seconds after which a command counts as hanging; `timeout` then ends it with 124.
const WITHIN_SECONDS: &str = "60";

/// How long the harness waits beyond that.
const HARNESS_PATIENCE: Duration = Duration::from_secs(90);

/// The containers that the cases need.
pub trait Containers {
    /// The id of a container in this state; asked for once for each program and case.
    ///
    /// # Errors
    /// It could not be had.
    fn id(&mut self, needed: Needed) -> io::Result<String>;
}

/// Two programs of a node and the place they run in.
#[derive(Debug)]
pub struct Runner<'node> {
    /// Where they run.
    pub node: &'node Node,
    /// The program that is right, a path in the node.
    pub theirs: String,
    /// The program that is held against it, a path in the node.
    pub ours: String,
    /// A folder of the runner's own below the node's scratch folder; each command gets an empty one in it.
    pub scratch: String,
}

impl Runner<'_> {
    /// Runs all cases and returns what is wrong, case by case; empty when all is well.
    ///
    /// # Errors
    /// A container could not be had, or a command not be run.
    pub fn run(&self, cases: &[Case], containers: &mut dyn Containers) -> io::Result<String> {
        let mut text = String::new();
        for case in cases {
            let theirs = self.outcome(&self.theirs, case, containers)?;
            let ours = self.outcome(&self.ours, case, containers)?;
            if let Some(wrong) = judge(case, &theirs, &ours) {
                // Writing to a String cannot fail.
                let _ = write!(text, "line {}: {}\n{wrong}", case.line, case.command);
            }
        }
        Ok(text)
    }

    fn outcome(
        &self,
        program: &str,
        case: &Case,
        containers: &mut dyn Containers,
    ) -> io::Result<Outcome> {
        // The same path for both, since messages name it.
        let dir = format!("{}/dir", self.scratch);
        let seen = self.node.path(&dir);
        if seen.exists() {
            fs::remove_dir_all(&seen)?;
        }
        fs::create_dir_all(&seen)?;
        let id = match case.needed {
            Needed::None => String::new(),
            needed => containers.id(needed)?,
        };
        // The shell sets PWD anew, as a terminal's does.
        let output = self
            .node
            .command("timeout")
            .args([WITHIN_SECONDS, "sh", "-c", &case.command])
            .cwd(&dir)
            .env("PROG", program)
            .env("DIR", &dir)
            .env("ID", &id)
            .timeout(HARNESS_PATIENCE)
            .output();
        let text = |text: &str| {
            text.replace(program, "PROG")
                .replace(&id_or_none(&id), "ID")
        };
        let mut left = Vec::new();
        list(&seen, "", &mut left)?;
        left.sort();
        let log = fs::read(seen.join("log")).unwrap_or_default();
        Ok(Outcome {
            status: output.status,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            log: text(&String::from_utf8_lossy(&log)),
            left,
        })
    }
}

/// What stands for the id in an output; a command without a container has none to replace.
fn id_or_none(id: &str) -> String {
    if id.is_empty() {
        "\0".to_owned()
    } else {
        id.to_owned()
    }
}

/// Kind, mode and name of everything below a directory.
fn list(dir: &Path, prefix: &str, left: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = match found.file_type() {
            kind if kind.is_dir() => 'd',
            kind if kind.is_symlink() => 'l',
            _ => 'f',
        };
        left.push(format!(
            "{kind} {:o} {name}",
            found.permissions().mode() & 0o7777
        ));
        if found.is_dir() {
            list(&entry.path(), &format!("{name}/"), left)?;
        }
    }
    Ok(())
}
