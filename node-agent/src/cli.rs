//! The command line: runc's `checkpoint` under its own flags, and the verbs that runc does not have.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, IsTerminal, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use tracing_subscriber::layer::SubscriberExt;

mod app;
mod checkpoint;
mod goflag;
mod golang;
mod help;
mod log;
mod node;
mod page_server;
mod preflight;
mod root;
mod run;
mod signals;
mod verb;

use app::{Globals, Names, Stop, Verb};
use checkpoint::Surroundings;
use log::{Log, RuncLayer};

/// What the command takes from its environment.
#[derive(Debug)]
struct Environment {
    pwd: Option<OsString>,
    /// Not root, or root of a user namespace.
    rootless: bool,
    /// Where containers are looked for without `--root`.
    root: PathBuf,
    /// Whether that came from `$XDG_RUNTIME_DIR`.
    root_is_own: bool,
}

impl Environment {
    fn look() -> Self {
        let is_root = nix::unistd::geteuid().is_root();
        // A kernel without user namespaces has no map, and then there is none to be in.
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let in_user_namespace = root::is_user_namespace(&map);
        let (root, root_is_own) = root::default_root(
            std::env::var_os("XDG_RUNTIME_DIR").as_deref(),
            std::env::var_os("USER").as_deref(),
            is_root,
            in_user_namespace,
        );
        let rootless = !is_root || in_user_namespace;
        Self {
            pwd: std::env::var_os("PWD"),
            rootless,
            root,
            root_is_own,
        }
    }
}

/// Runs the program with the arguments of the process, its own name first, and says how it ends.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let names = Names::new(&args.next().unwrap_or_default());
    let args: Vec<OsString> = args.collect();
    let environment = Environment::look();
    let log = Arc::new(Log::new());
    let status = start(&args, names, &environment, &log).unwrap_or_else(|stop| end(&stop, &log));
    ExitCode::from(status)
}

/// Prints what stopped the program and says the exit status.
fn end(stop: &Stop, log: &Log) -> u8 {
    // A closed stdout changes nothing about what is wrong.
    let _ = io::stdout().write_all(stop.stdout.as_bytes());
    let _ = io::stdout().flush();
    stop.error.as_ref().map_or(0, |(text, status)| {
        log.fatal(text);
        *status
    })
}

fn start(
    args: &[OsString],
    names: Names,
    environment: &Environment,
    log: &Arc<Log>,
) -> Result<u8, Stop> {
    let globals = app::read_globals(args, &names, &environment.root)?;
    let root = prepare(&globals, environment, log)?;
    let verb = app::read_verb(&globals.args, &names, &environment.root)?;
    match verb {
        Verb::Preflight(args) => {
            log_as_runc(log);
            Ok(preflight::run(&args))
        }
        Verb::PageServer(args) => {
            log_as_runc(log);
            let cancel = signals::cancel_on_signals().map_err(|error| Stop::failed(&error))?;
            Ok(page_server::run(&args, &cancel))
        }
        Verb::Run(args) => Ok(run::run(&args)),
        Verb::Checkpoint(parsed) => {
            log_as_runc(log);
            let cancel = signals::cancel_on_signals().map_err(|error| Stop::failed(&error))?;
            let around = Surroundings {
                names,
                root,
                rootless: environment.rootless,
                pwd: environment.pwd.clone(),
                terminal: io::stderr().is_terminal(),
            };
            let engine = node::Node::new(cancel);
            checkpoint::run(&engine, &parsed, &around, log, &mut io::stdout().lock())
                .map_err(|error| Stop::failed(&format!("write /dev/stdout: {error}")))
        }
    }
}

/// Has the engine's events written as runc writes its log.
fn log_as_runc(log: &Arc<Log>) {
    let subscriber = tracing_subscriber::registry().with(RuncLayer(Arc::clone(log)));
    // It fails only where somebody set one up before, who then gets the events.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// What runc does before any verb (`app.Before`): the state root, then the log.
fn prepare(globals: &Globals, environment: &Environment, log: &Log) -> Result<PathBuf, Stop> {
    if !globals.root_given && environment.root_is_own {
        own_root(&globals.root).map_err(|(advice, error)| {
            // runc prints this line beside its log.
            let _ = writeln!(io::stderr(), "{advice}");
            Stop::failed(&error)
        })?;
    }
    let root = if globals.root_given {
        let here = golang::fs::current_dir(environment.pwd.as_deref().map(OsStr::new))
            .map_err(|error| Stop::failed(&format!("getwd: {}", golang::fs::Reason(&error))))?;
        root::revise_root(&globals.root, &here)?
    } else {
        globals.root.clone()
    };
    if globals.debug {
        log.show_debug();
    }
    log.set_format(globals.format()?);
    if !globals.log.as_os_str().is_empty() {
        log.write_to(&globals.log)
            .map_err(|error| Stop::failed(&error))?;
    }
    Ok(root)
}

/// Makes the state root below `$XDG_RUNTIME_DIR`, sticky so that nothing prunes it.
fn own_root(root: &Path) -> Result<(), (&'static str, String)> {
    golang::fs::make_all(root, 0o700).map_err(|error| {
        (
            "the path in $XDG_RUNTIME_DIR must be writable by the user",
            error.to_string(),
        )
    })?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o1700)).map_err(|error| {
        let reason = golang::fs::Reason(&error).to_string();
        let text = format!("chmod {}: {reason}", root.display());
        (
            "you should check permission of the path in $XDG_RUNTIME_DIR",
            text,
        )
    })
}
