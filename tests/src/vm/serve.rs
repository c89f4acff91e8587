//! The guest's side: starts commands, and tells how they ended.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::ADDRESS;
use super::frame::{self, Call, Kind, LONGEST_PIECE};
use crate::wire::Request;

/// A shell's exit status for a command that could not be started.
const NOT_STARTED: i32 = 127;

/// The commands that run, by the harness's names for them.
#[derive(Clone, Debug, Default)]
struct Jobs(Arc<Mutex<HashMap<u64, Pid>>>);

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, job: u64, signal: Signal, group: bool) {
        if let Some(pid) = self.lock().get(&job) {
            let _ = if group {
                killpg(*pid, signal)
            } else {
                kill(*pid, signal)
            };
        }
    }
}

/// Serves for ever.
///
/// # Errors
/// The port cannot be had.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ADDRESS.port()))?;
    let jobs = Jobs::default();
    for client in listener.incoming() {
        let (client, jobs) = (client?, jobs.clone());
        thread::spawn(move || {
            if let Err(error) = answer(client, &jobs) {
                eprintln!("rig-guest: {error}");
            }
        });
    }
    Ok(())
}

fn answer(mut client: TcpStream, jobs: &Jobs) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Some((Kind::Call, bytes)) = frame::read(&mut client)? else {
        return Err(io::Error::other("a connection without a request"));
    };
    let Call { request, null } = serde_json::from_slice(&bytes)?;
    let status = match request {
        Request::Kill { job, signal, group } => {
            if let Ok(signal) = Signal::try_from(signal) {
                jobs.signal(job, signal, group);
            }
            0
        }
        Request::Run {
            job,
            command,
            env,
            cwd,
        } => {
            let [stdin, stdout, stderr] =
                null.map(|null| if null { Stdio::null() } else { Stdio::piped() });
            let mut prepared = Command::new(command.first().map_or("", String::as_str));
            prepared
                .args(command.iter().skip(1))
                .envs(env)
                .current_dir(cwd)
                .stdin(stdin)
                .stdout(stdout)
                .stderr(stderr)
                .process_group(0);
            match run(prepared, job, &client, jobs) {
                Ok(status) => status,
                Err(error) => {
                    let complaint = format!("rig-guest: failed to start {command:?}: {error}\n");
                    frame::write(&mut client, Kind::Errors, complaint.as_bytes())?;
                    NOT_STARTED
                }
            }
        }
    };
    frame::write(&mut client, Kind::Status, &status.to_be_bytes())?;
    client.shutdown(Shutdown::Write)
}

/// Runs a command to its end, and sends what it prints. What it left behind may go on printing, to nobody.
fn run(mut command: Command, job: u64, client: &TcpStream, jobs: &Jobs) -> io::Result<i32> {
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    jobs.lock().insert(job, pid);
    let input = child.stdin.take();
    let mut streams = [
        (Kind::Output, child.stdout.take().map(OwnedFd::from)),
        (Kind::Errors, child.stderr.take().map(OwnedFd::from)),
    ]
    .map(|(kind, stream)| (kind, stream.map(File::from)));
    for (_, stream) in &streams {
        if let Some(stream) = stream {
            fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
        }
    }
    let (from, names) = (client.try_clone()?, jobs.clone());
    thread::spawn(move || take_input(from, input, job, &names));
    let (mut end, mut teller) = io::pipe()?;
    let names = jobs.clone();
    thread::spawn(move || {
        let status = child.wait().map_or(NOT_STARTED, status_of);
        names.lock().remove(&job);
        let _ = teller.write_all(&status.to_be_bytes());
    });
    loop {
        let ended = wait_for_news(end.as_fd(), &streams)?;
        for (kind, slot) in &mut streams {
            drain(*kind, slot, client)?;
        }
        if ended {
            let mut status = [0; 4];
            end.read_exact(&mut status)?;
            return Ok(i32::from_be_bytes(status));
        }
    }
}

fn status_of(status: ExitStatus) -> i32 {
    let signal = || status.signal().map_or(NOT_STARTED, |signal| 128 + signal);
    status.code().unwrap_or_else(signal)
}

/// Waits until the command printed something or ended, and then returns true.
fn wait_for_news(end: BorrowedFd<'_>, streams: &[(Kind, Option<File>); 2]) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(end, PollFlags::POLLIN)];
    let open = streams.iter().filter_map(|(_, stream)| stream.as_ref());
    fds.extend(open.map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
    poll(&mut fds, PollTimeout::NONE).map_err(io::Error::from)?;
    Ok(fds.first().and_then(PollFd::any).unwrap_or(false))
}

fn drain(kind: Kind, slot: &mut Option<File>, mut client: &TcpStream) -> io::Result<()> {
    let mut piece = vec![0; LONGEST_PIECE];
    while let Some(stream) = slot.as_mut() {
        match stream.read(&mut piece) {
            Ok(0) => *slot = None,
            Ok(length) => frame::write(&mut client, kind, piece.get(..length).unwrap_or(&[]))?,
            Err(_) => break,
        }
    }
    Ok(())
}

/// Hands the command its input. When the other side goes away, so does the command.
fn take_input(mut from: TcpStream, mut to: Option<ChildStdin>, job: u64, jobs: &Jobs) {
    while let Ok(Some((Kind::Input, bytes))) = frame::read(&mut from) {
        if bytes.is_empty() {
            to = None;
        } else if let Some(input) = to.as_mut()
            && input.write_all(&bytes).is_err()
        {
            to = None;
        }
    }
    jobs.signal(job, Signal::SIGKILL, true);
}
