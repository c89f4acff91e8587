//! A caller of the engine's library that publishes an image under its final name:
//! `publish ROOT ID DIR [end] [unlock] [iptables] [max-pause MILLISECONDS] [lazy PORT PEER]`. On failure it prints the reason and exits with 1.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use node_agent::checkpoint::{
    self, Admitted, Engine, Image, Kind, Network, NetworkLock, Observer, Options, PageServer,
    Request, Step, guardian,
};
use node_agent::criu::Cancel;
use node_agent::runtime::{self, ContainerId};

#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: Step) {}
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.split_first() {
        Some((program, rest)) if archiver::is_called(program) => return archiver::run(rest),
        Some((program, [entry])) if guardian::is_called(program) => {
            return guardian::run(entry.into());
        }
        _ => {}
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match publish(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn publish(words: &[String]) -> Result<(), String> {
    let [root, id, dir, more @ ..] = words else {
        return Err(
            "usage: publish ROOT ID DIR [end] [unlock] [iptables] [max-pause MILLISECONDS] [lazy PORT PEER]"
                .to_owned(),
        );
    };
    let id: ContainerId = id.parse().map_err(|_| "no id".to_owned())?;
    let container = runtime::load(Path::new(root), &id).map_err(|error| error.to_string())?;
    let request = request(dir, more);
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let engine = Engine::of_this_host();
    checkpoint::run(&engine, &container, &request, &cancel, &mut Silent)
        .map(|_| ())
        .map_err(|error| {
            let hint = error.hint().unwrap_or_default();
            format!("{}: {error} ({hint})", error.reason())
        })
}

/// What these words ask for.
fn request(dir: &str, more: &[String]) -> Request {
    let max_pause = more
        .iter()
        .position(|word| word == "max-pause")
        .and_then(|at| more.get(at + 1)?.parse().ok())
        .map(Duration::from_millis);
    let lazy = more.iter().position(|word| word == "lazy").and_then(|at| {
        let port: u16 = more.get(at + 1)?.parse().ok()?;
        let peer: Network = more.get(at + 2)?.parse().ok()?;
        Some((port, peer))
    });
    Request {
        kind: Kind::Dump,
        image: Image::Publish {
            dir: PathBuf::from(dir),
        },
        work_dir: Some(PathBuf::from(format!("{dir}.work"))),
        parent: None,
        options: Options {
            leave_running: !more.iter().any(|word| word == "end"),
            lazy_pages: lazy.is_some(),
            ..Options::default()
        },
        page_server: lazy.map(|(port, _)| PageServer {
            address: "0.0.0.0".to_owned(),
            port: port.into(),
            tls: None,
        }),
        lazy_pages_for: lazy.map(|(_, peer)| Admitted {
            address: None,
            peers: vec![peer],
        }),
        status_fd: None,
        cgroups_mode: checkpoint::CgroupsMode::Ignore,
        network_lock: if more.iter().any(|word| word == "iptables") {
            NetworkLock::Iptables
        } else {
            NetworkLock::Nftables
        },
        ghost_limit: None,
        timeout: None,
        max_pause,
        site_config: false,
        unlock_after_end: more.iter().any(|word| word == "unlock"),
        keep: checkpoint::Keep::default(),
    }
}
