//! The node's side of the harness: starts commands for it, tells how they ended, and ends when the harness is gone, whereupon all of the
//! node ends (`tests/rig/inside`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use rig::wire::{Request, receive};

/// A shell's exit status for a command that could not be started.
const NOT_STARTED: i32 = 127;

/// The commands that run: their process, their name, and where their exit status goes.
#[derive(Default)]
struct Jobs {
    running: Mutex<HashMap<Pid, (u64, File)>>,
    started: Condvar,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, (u64, File)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> ExitCode {
    let jobs = Arc::new(Jobs::default());
    let reaper = Arc::clone(&jobs);
    thread::spawn(move || reap_for_ever(&reaper));
    let socket = io::stdin();
    loop {
        let (bytes, fds) = match receive(&socket) {
            Ok((bytes, _)) if bytes.is_empty() => return ExitCode::SUCCESS,
            Ok(message) => message,
            Err(error) => {
                eprintln!("rig-init: failed to receive a request: {error}");
                return ExitCode::FAILURE;
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(request) => serve(&jobs, request, fds),
            Err(error) => eprintln!("rig-init: invalid request: {error}"),
        }
    }
}

fn serve(jobs: &Jobs, request: Request, fds: Vec<OwnedFd>) {
    match request {
        Request::Run {
            job,
            command,
            env,
            cwd,
        } => {
            let Ok([stdin, stdout, stderr, status]) = <[OwnedFd; 4]>::try_from(fds) else {
                eprintln!("rig-init: a command came without its four descriptors");
                return;
            };
            let complaint = stderr.try_clone();
            let mut status = File::from(status);
            let mut running = jobs.lock();
            let child = Command::new(command.first().map_or("", String::as_str))
                .args(command.iter().skip(1))
                .envs(env)
                .current_dir(cwd)
                .stdin(Stdio::from(stdin))
                .stdout(Stdio::from(stdout))
                .stderr(Stdio::from(stderr))
                .process_group(0)
                .spawn();
            match child {
                Ok(child) => {
                    running.insert(Pid::from_raw(child.id().cast_signed()), (job, status));
                    jobs.started.notify_all();
                }
                Err(error) => {
                    if let Ok(fd) = complaint {
                        let _ = writeln!(
                            File::from(fd),
                            "rig-init: failed to start {command:?}: {error}"
                        );
                    }
                    let _ = status.write_all(&NOT_STARTED.to_ne_bytes());
                }
            }
        }
        Request::Kill { job, signal, group } => {
            let running = jobs.lock();
            let found = running.iter().find(|(_, (name, _))| *name == job);
            if let (Some((pid, _)), Ok(signal)) = (found, Signal::try_from(signal)) {
                let _ = if group {
                    killpg(*pid, signal)
                } else {
                    kill(*pid, signal)
                };
            }
        }
    }
}

fn reap_for_ever(jobs: &Jobs) {
    loop {
        let (pid, status) = match wait() {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(_) => continue,
            Err(_) => {
                // No child at all: until one is started there is nothing to reap.
                let running = jobs.lock();
                if running.is_empty() {
                    drop(jobs.started.wait(running));
                }
                continue;
            }
        };
        // Under the lock, so that a command that ended at once is already known.
        let ended = jobs.lock().remove(&pid);
        if let Some((_, mut pipe)) = ended {
            let _ = pipe.write_all(&status.to_ne_bytes());
        }
    }
}
