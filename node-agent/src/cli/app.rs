//! What comes before a verb: the global flags, which verb it is, and what stops here.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    checkpoint, goflag,
    goflag::{Flag, Kind, Parsed},
    golang::{path, quote::plain},
    log::Format,
};

mod pages;

pub(crate) use pages::checkpoint_help;
use pages::{help_of_help, program_help};

/// The program's own name, whatever it was started as.
pub(crate) const NAME: &str = "stillframe-node-agent";
/// The runc whose command line this one follows.
pub(crate) const RUNC_VERSION: &str = "1.5.2";
const HELP_FLAG: Flag = Flag {
    names: &["help", "h"],
    kind: Kind::Bool,
    usage: "show help",
};

/// What ends the program before a verb is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    /// What goes to stdout first.
    pub(crate) stdout: String,
    /// What is logged, and the exit status; success without.
    pub(crate) error: Option<(String, u8)>,
}

impl Stop {
    /// Text on stdout, and success.
    pub(crate) fn shown(stdout: String) -> Self {
        Self {
            stdout,
            error: None,
        }
    }

    /// Nothing on stdout, and status 1.
    pub(crate) fn failed(error: &dyn std::fmt::Display) -> Self {
        Self {
            stdout: String::new(),
            error: Some((error.to_string(), 1)),
        }
    }

    fn misused(stdout: String, error: &dyn std::fmt::Display) -> Self {
        Self {
            stdout,
            error: Some((error.to_string(), 1)),
        }
    }

    fn no_topic(topic: &OsStr) -> Self {
        // urfave/cli's ExitError is written with a newline, which runc logs with the text.
        let text = format!("No help topic for '{}'\n", plain(topic.as_bytes()));
        Self {
            stdout: String::new(),
            error: Some((text, 3)),
        }
    }
}

/// The names the program goes by.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// The program as it was called.
    pub(crate) called: String,
    /// The last name in that.
    pub(crate) base: String,
}

impl Names {
    /// From the first argument of the process.
    pub(crate) fn new(argv0: &OsStr) -> Self {
        let base = path::base(argv0.as_bytes());
        Self {
            called: plain(argv0.as_bytes()),
            base: plain(&base),
        }
    }
}

/// The global flags, read.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// `--root`, absolute when given.
    pub(crate) root: PathBuf,
    /// Whether `--root` was given.
    pub(crate) root_given: bool,
    /// `--debug`.
    pub(crate) debug: bool,
    /// `--log-format`, unread.
    log_format: OsString,
    /// `--log`; the empty path is stderr.
    pub(crate) log: PathBuf,
    /// What follows them.
    pub(crate) args: Vec<OsString>,
}

impl Globals {
    /// `--log-format` as `configLogrus` of runc takes it.
    ///
    /// # Errors
    /// The format is none of the two.
    pub(crate) fn format(&self) -> Result<Format, Stop> {
        match self.log_format.as_bytes() {
            b"" | b"text" => Ok(Format::Text),
            b"json" => Ok(Format::Json),
            other => Err(Stop::failed(&format!(
                "invalid log-format: {}",
                plain(other)
            ))),
        }
    }
}

fn global_flags(default_root: &Path) -> Vec<Flag> {
    let flag = |name, kind, usage| Flag {
        names: name,
        kind,
        usage,
    };
    vec![
        flag(&["debug"], Kind::Bool, "enable debug logging"),
        flag(
            &["log"],
            Kind::Text(OsString::new()),
            "set the log file to write logs to (default is '/dev/stderr')",
        ),
        flag(
            &["log-format"],
            Kind::Text("text".into()),
            "set the log format ('text' (default), or 'json')",
        ),
        flag(
            &["root"],
            Kind::Text(default_root.as_os_str().to_owned()),
            "root directory for storage of container state (this should be located in tmpfs)",
        ),
        flag(
            &["systemd-cgroup"],
            Kind::Bool,
            "accepted as runc accepts it: a container's own state says who manages its cgroups",
        ),
        flag(
            &["rootless"],
            Kind::Text("auto".into()),
            "accepted as runc accepts it: unused by checkpoint",
        ),
        HELP_FLAG,
        Flag {
            names: &["version", "v"],
            kind: Kind::Bool,
            usage: "print the version",
        },
    ]
}

/// Reads the global flags; help, the version and whatever cannot be read stop here. Mirrors
/// `App.Run` of urfave/cli v1.22.17.
///
/// # Errors
/// What stops here.
pub(crate) fn read_globals(
    args: &[OsString],
    names: &Names,
    default_root: &Path,
) -> Result<Globals, Stop> {
    let flags = global_flags(default_root);
    let (mut parsed, result) = goflag::parse(&flags, args);
    let text = || program_help(names, &flags);
    if let Err(error) = goflag::unite_names(&flags, &mut parsed) {
        return Err(Stop::misused(format!("{error}\n{}", text()), &error));
    }
    if let Err(error) = result {
        return Err(Stop::misused(
            format!("Incorrect Usage. {error}\n\n{}", text()),
            &error,
        ));
    }
    if parsed.bool("help") {
        return Err(Stop::shown(text()));
    }
    if parsed.bool("version") {
        let version = env!("CARGO_PKG_VERSION");
        return Err(Stop::shown(format!(
            "{NAME} version {version}\nrunc: {RUNC_VERSION}\n"
        )));
    }
    Ok(Globals {
        root: PathBuf::from(parsed.text("root")),
        root_given: parsed.is_set("root"),
        debug: parsed.bool("debug"),
        log_format: parsed.text("log-format").to_owned(),
        log: PathBuf::from(parsed.text("log")),
        args: parsed.args,
    })
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Verb {
    /// `checkpoint`, with its flags read.
    Checkpoint(Parsed),
    /// `page-server`, with its arguments unread.
    PageServer(Vec<OsString>),
    /// `preflight`, with its arguments unread.
    Preflight(Vec<OsString>),
    /// `run`, with its arguments unread.
    Run(Vec<OsString>),
}

/// Finds the verb and, for those that runc has, reads its flags.
///
/// # Errors
/// Help, and whatever cannot be read, stops here.
pub(crate) fn read_verb(args: &[OsString], names: &Names, globals: &Path) -> Result<Verb, Stop> {
    let Some((verb, rest)) = args.split_first() else {
        return Err(Stop::shown(program_help(names, &global_flags(globals))));
    };
    match verb.as_bytes() {
        b"checkpoint" => read_checkpoint(rest, names).map(Verb::Checkpoint),
        b"page-server" => Ok(Verb::PageServer(rest.to_vec())),
        b"preflight" => Ok(Verb::Preflight(rest.to_vec())),
        b"run" => Ok(Verb::Run(rest.to_vec())),
        b"help" | b"h" => Err(help_topic(rest, names, globals)),
        _ => Err(Stop::no_topic(verb)),
    }
}

fn read_checkpoint(args: &[OsString], names: &Names) -> Result<Parsed, Stop> {
    read_command(checkpoint::flags(), args, &|| checkpoint_help(names))
}

/// Mirrors `Command.Run` of urfave/cli v1.22.17 up to the action.
fn read_command(
    mut flags: Vec<Flag>,
    args: &[OsString],
    help: &dyn Fn() -> String,
) -> Result<Parsed, Stop> {
    flags.push(HELP_FLAG);
    let args = goflag::reorder(&flags, args);
    let (mut parsed, result) = goflag::parse(&flags, &args);
    if let Err(error) = result.and_then(|()| goflag::unite_names(&flags, &mut parsed)) {
        return Err(Stop::misused(
            format!("Incorrect Usage: {error}\n\n{}", help()),
            &error,
        ));
    }
    if parsed.bool("help") {
        return Err(Stop::shown(help()));
    }
    Ok(parsed)
}

fn help_topic(args: &[OsString], names: &Names, globals: &Path) -> Stop {
    let parsed = match read_command(Vec::new(), args, &help_of_help) {
        Ok(parsed) => parsed,
        Err(stop) => return stop,
    };
    let Some(topic) = parsed.args.first() else {
        return Stop::shown(program_help(names, &global_flags(globals)));
    };
    match topic.as_bytes() {
        b"" => Stop::shown(program_help(names, &global_flags(globals))),
        b"checkpoint" => Stop::shown(checkpoint_help(names)),
        b"page-server" => Stop::shown(super::page_server::help()),
        b"preflight" => Stop::shown(super::preflight::help()),
        b"run" => Stop::shown(super::run::help()),
        b"help" | b"h" => Stop::shown(help_of_help()),
        _ => Stop::no_topic(topic),
    }
}

#[cfg(test)]
mod tests;
