//! runc's log: where its lines go and which are shown. What they look like is in [`format`].

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    panic::Location,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::Zoned;

use super::golang::fs::{PathError, open_log};

mod format;
mod layer;

pub(crate) use format::Format;
use format::{Caller, Entry, Level};
pub(crate) use layer::RuncLayer;

/// The log of one run of the command; `logrus`'s standard logger as runc sets it up.
#[derive(Debug)]
pub(crate) struct Log {
    start: Instant,
    sink: Mutex<Sink>,
}

#[derive(Debug)]
struct Sink {
    /// Unset: stderr.
    file: Option<File>,
    terminal: bool,
    format: Format,
    debug: bool,
}

impl Log {
    /// Text on stderr from warnings up, as it is before any flag is read.
    pub(crate) fn new() -> Self {
        let sink = Sink {
            file: None,
            terminal: io::stderr().is_terminal(),
            format: Format::Text,
            debug: false,
        };
        Self {
            start: Instant::now(),
            sink: Mutex::new(sink),
        }
    }

    /// `--debug`: everything from debug up, with the place it comes from.
    pub(crate) fn show_debug(&self) {
        self.sink().debug = true;
    }

    /// `--log-format`.
    pub(crate) fn set_format(&self, format: Format) {
        self.sink().format = format;
    }

    /// `--log`.
    ///
    /// # Errors
    /// The file could not be opened; the log stays where it was.
    pub(crate) fn write_to(&self, path: &Path) -> Result<(), PathError> {
        let file = open_log(path)?;
        let mut sink = self.sink();
        sink.terminal = file.is_terminal();
        sink.file = Some(file);
        Ok(())
    }

    /// A line at error level; on stderr also without its dress when the log is elsewhere
    /// (`fatalWithCode` and `FatalWriter` of runc's main package).
    #[track_caller]
    pub(crate) fn fatal(&self, message: &str) {
        self.line(Level::Error, message, Location::caller());
        if self.sink().file.is_some() {
            let newline = if message.ends_with('\n') { "" } else { "\n" };
            // Nothing is left to say it to.
            let _ = write!(io::stderr(), "{message}{newline}");
        }
    }

    /// A line at warning level.
    #[track_caller]
    pub(crate) fn warn(&self, message: &str) {
        self.line(Level::Warning, message, Location::caller());
    }

    fn line(&self, level: Level, message: &str, place: &Location<'_>) {
        let caller = Caller {
            function: module_path!().to_owned(),
            file: format!("{}:{}", place.file(), place.line()),
        };
        self.write(
            &Entry {
                level,
                message: message.to_owned(),
                fields: Vec::new(),
            },
            caller,
        );
    }

    /// Writes one entry, unless its level is below what is shown. runc shows info too, but its
    /// checkpoint has nothing to say there, while the engine has.
    fn write(&self, entry: &Entry, caller: Caller) {
        let mut sink = self.sink();
        let shown = if sink.debug {
            Level::Debug
        } else {
            Level::Warning
        };
        if entry.level < shown {
            return;
        }
        let caller = sink.debug.then_some(caller);
        let line = match (sink.format, sink.terminal) {
            (Format::Json, _) => format::json(entry, caller.as_ref(), &Zoned::now()),
            (Format::Text, true) => format::colored(entry, caller.as_ref(), self.start.elapsed()),
            (Format::Text, false) => format::text(entry, caller.as_ref(), &Zoned::now()),
        };
        // A log that cannot be written is no reason to fail a checkpoint; logrus goes on as well.
        let _ = match &mut sink.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn appends_to_the_log_file_from_warnings_up() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        fs::write(&path, "before\n").unwrap();
        let log = Log::new();
        log.write_to(&path).unwrap();
        log.warn("careful");
        let entry = Entry {
            level: Level::Info,
            message: "quiet".into(),
            fields: Vec::new(),
        };
        log.write(&entry, Caller::default());
        log.show_debug();
        log.set_format(Format::Json);
        log.write(
            &entry,
            Caller {
                function: "f".into(),
                file: "x.rs:1".into(),
            },
        );
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].ends_with(" level=warning msg=careful"), "{text}");
        assert!(
            lines[2].starts_with(r#"{"file":"x.rs:1","func":"f","level":"info","msg":"quiet","#)
        );
    }

    #[test]
    fn says_in_go_words_why_a_log_does_not_open() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("missing/log");
        let text = Log::new().write_to(&path).unwrap_err().to_string();
        assert_eq!(
            text,
            format!("open {}: no such file or directory", path.display())
        );
        let path = scratch.path().join("log");
        Log::new().write_to(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o133, 0);
    }
}
