//! `checkpoint`: runc's verb under runc's flags, in runc's order of checks.

use std::{
    ffi::{OsStr, OsString},
    io::Write,
    path::Path,
};

use super::{
    app::{Names, checkpoint_help},
    goflag::Parsed,
    log::Log,
};
use crate::checkpoint::{Report, Request, Step};

mod error;
mod flags;
mod options;
mod output;
mod progress;

pub(crate) use error::{Error, Failure};
pub(crate) use flags::{ARGUMENTS, DESCRIPTION, USAGE, flags};
pub(crate) use progress::Progress;

/// The engine as this verb needs it; a seam so that the order of checks can be tested without a
/// container.
pub(crate) trait Engine {
    /// A container that was found.
    type Container;

    /// Finds a container by its id in a state root.
    fn load(&self, root: &Path, id: &OsStr) -> Result<Self::Container, Failure>;

    /// The state's name when no checkpoint can be taken in it: `created` or `stopped`.
    fn refused_state(&self, container: &Self::Container) -> Result<Option<String>, Failure>;

    /// Whether there is a CRIU to ask at all; runc finds out before it looks at the cgroups mode.
    fn require_criu(&self) -> Result<(), Failure>;

    /// Takes the checkpoint and, where asked for, ends the container.
    fn checkpoint(
        &self,
        container: Self::Container,
        request: Request,
        observe: &mut dyn FnMut(Step),
    ) -> Result<Report, Failure>;
}

/// What the process around the verb is like.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The names of the program.
    pub(crate) names: Names,
    /// The state root.
    pub(crate) root: std::path::PathBuf,
    /// Not root, or root of a user namespace.
    pub(crate) rootless: bool,
    /// `$PWD`.
    pub(crate) pwd: Option<OsString>,
    /// Whether stderr is a terminal.
    pub(crate) terminal: bool,
}

/// Carries out the verb and says the exit status. `out` is stdout.
///
/// # Errors
/// Only when stdout cannot be written.
pub(crate) fn run<E: Engine>(
    engine: &E,
    parsed: &Parsed,
    around: &Surroundings,
    log: &Log,
    out: &mut dyn Write,
) -> std::io::Result<u8> {
    let json = parsed.text("output") == "json";
    let error = match attempt(engine, parsed, around, log) {
        Ok(report) => {
            report.warnings.iter().for_each(|warning| log.warn(warning));
            if json {
                out.write_all(output::success(&report).as_bytes())?;
            }
            return Ok(0);
        }
        Err(error) => error,
    };
    error.quoted().iter().for_each(|line| log.warn(line));
    // runc leaves it at the quote, whose telling line is rarely the last one, and which a full disk
    // has no room for.
    let of_criu = error.criu_errno().is_some() || !error.quoted().is_empty();
    if let Some(hint) = error.hint().filter(|_| of_criu) {
        log.warn(hint);
    }
    let written = if json {
        out.write_all(output::failure(&error).as_bytes())
    } else if matches!(error, Error::ArgumentCount { .. }) {
        write!(
            out,
            "Incorrect Usage.\n\n{}",
            checkpoint_help(&around.names)
        )
    } else {
        Ok(())
    };
    log.fatal(&error.to_string());
    written.map(|()| 1)
}

/// The action of runc's `checkpointCommand`, check by check.
fn attempt<E: Engine>(
    engine: &E,
    parsed: &Parsed,
    around: &Surroundings,
    log: &Log,
) -> Result<Report, Error> {
    let [id] = parsed.args.as_slice() else {
        return Err(Error::ArgumentCount {
            program: around.names.called.clone(),
        });
    };
    if around.rootless {
        let name = &around.names.base;
        log.warn(&format!(
            "{name} checkpoint is untested with rootless containers"
        ));
    }
    if id.is_empty() {
        return Err(Error::EmptyId);
    }
    let container = engine.load(&around.root, id)?;
    if let Some(state) = engine.refused_state(&container)? {
        return Err(Error::State { state });
    }
    let options = options::read(parsed, around.pwd.as_deref())?;
    // Raised inside libcontainer's Checkpoint, behind its question for CRIU's version.
    if let Err(error) = options.cgroups_mode() {
        engine.require_criu()?;
        return Err(error);
    }
    let request = options.request()?;
    let mut progress = Progress::new(parsed.bool("progress") && around.terminal);
    let result = engine.checkpoint(container, request, &mut |step| progress.show(step));
    progress.finish();
    Ok(result?)
}

#[cfg(test)]
mod tests;
