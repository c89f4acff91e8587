//! Sets up the log, and leaves the last word where the kubelet finds it.

use std::{fs::OpenOptions, io::Write, path::Path};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

use crate::args::LogFormat;

/// Where the kubelet reads why a container ended.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("invalid log filter {text:?}")]
    Filter {
        /// The text.
        text: String,
        /// Why.
        source: ParseError,
    },
}

impl Error {
    /// The word for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Filter { .. } => "InvalidLogFilter",
        }
    }
}

/// Writes log lines to standard error from now on.
///
/// # Errors
/// When `filter` is not one.
pub fn init(format: LogFormat, filter: &str) -> Result<(), Error> {
    let filter = EnvFilter::try_new(filter).map_err(|source| Error::Filter {
        text: filter.to_owned(),
        source,
    })?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// Writes why the process ends to the kubelet's file, where there is one.
pub fn last_word(file: &Path, text: &str) {
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(file) {
        // There is nobody left to tell that this failed.
        let _ = file.write_all(text.as_bytes());
    }
}
