//! Runs the cases through both programs, one after the other, in the same place.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Case, Needed, Outcome, judge};

/// Seconds after which a command counts as hanging; `timeout` then ends it with 124.
const WITHIN_SECONDS: &str = "60";

/// The containers that the cases need.
pub trait Containers {
    /// The id of a container in this state; asked for once for each program and case.
    ///
    /// # Errors
    /// It could not be had.
    fn id(&mut self, needed: Needed) -> io::Result<String>;
}

/// Two programs and the place they run in.
#[derive(Debug)]
pub struct Runner {
    /// The program that is right.
    pub theirs: PathBuf,
    /// The program that is held against it.
    pub ours: PathBuf,
    /// An existing directory of the runner's own; each command gets an empty one below it.
    pub scratch: PathBuf,
}

impl Runner {
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
        program: &Path,
        case: &Case,
        containers: &mut dyn Containers,
    ) -> io::Result<Outcome> {
        // The same path for both, since messages name it.
        let dir = self.scratch.join("dir");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        let id = match case.needed {
            Needed::None => String::new(),
            needed => containers.id(needed)?,
        };
        // The shell sets PWD anew, as a terminal's does.
        let output = Command::new("timeout")
            .args([WITHIN_SECONDS, "sh", "-c", &case.command])
            .current_dir(&dir)
            .env("PROG", program)
            .env("DIR", &dir)
            .env("ID", id)
            .stdin(Stdio::null())
            .output()?;
        let signal = || output.status.signal().map_or(-1, |signal| signal + 128);
        let name = program.to_string_lossy();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*name, "PROG");
        let mut left = Vec::new();
        list(&dir, "", &mut left)?;
        left.sort();
        Ok(Outcome {
            status: output.status.code().unwrap_or_else(signal),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            log: text(&fs::read(dir.join("log")).unwrap_or_default()),
            left,
        })
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
