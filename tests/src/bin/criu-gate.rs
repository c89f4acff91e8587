//! Follows a CRIU process with ptrace and does harm at one moment of its dump, chosen beforehand, so that a test can tell what comes of it.
//!
//! `criu-gate PID`, started by the wrapper of [`rig::gate`]. CRIU itself stays the process that its caller started: nothing stands
//! between the two but the moments at which it is stopped. In the environment:
//! `CRIU_GATE_AT` is a notification's name, or `memory` for the first page that is written; `CRIU_GATE_ACT` is a [`Act`]'s name;
//! `CRIU_GATE_FOLDER` gets the file `acted`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Between two looks at something that changes.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the caller gets to act on a signal that it has taken.
const TAKEN: Duration = Duration::from_millis(30);

/// What is done at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    /// CRIU is killed.
    KillCriu,
    /// CRIU is killed, once it has the answer to the notification.
    KillAnswered,
    /// CRIU's caller is killed, after the notification was sent and before it is answered.
    KillCaller,
    /// So are the caller and its guardian.
    KillCallerAndGuardian,
    /// And so is CRIU, too.
    KillAll,
    /// The caller gets SIGINT before the notification is sent.
    Interrupt,
    /// The caller gets SIGTERM before the notification is sent.
    Terminate,
    /// CRIU is held until the file `go` appears.
    Hold,
}

impl Act {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "kill-criu" => Self::KillCriu,
            "kill-answered" => Self::KillAnswered,
            "kill-caller" => Self::KillCaller,
            "kill-caller-and-guardian" => Self::KillCallerAndGuardian,
            "kill-all" => Self::KillAll,
            "interrupt" => Self::Interrupt,
            "terminate" => Self::Terminate,
            "hold" => Self::Hold,
            _ => return None,
        })
    }

    /// Whether it is done once the notification has been sent, with the caller kept from answering.
    fn comes_after(self) -> bool {
        !matches!(
            self,
            Self::KillAnswered | Self::Interrupt | Self::Terminate | Self::Hold
        )
    }
}

struct Gate {
    criu: Pid,
    at: String,
    act: Act,
    folder: PathBuf,
}

fn main() -> ExitCode {
    match Gate::from_env().and_then(|gate| gate.stand()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(folder) = std::env::var_os("CRIU_GATE_FOLDER") {
                let _ = fs::write(Path::new(&folder).join("failed"), error.to_string());
            }
            ExitCode::FAILURE
        }
    }
}

impl Gate {
    fn from_env() -> io::Result<Self> {
        let variable = |name| std::env::var(name).map_err(io::Error::other);
        let pid = std::env::args().nth(1).and_then(|pid| pid.parse().ok());
        Ok(Self {
            criu: Pid::from_raw(pid.ok_or_else(|| io::Error::other("no pid"))?),
            at: variable("CRIU_GATE_AT")?,
            act: Act::named(&variable("CRIU_GATE_ACT")?)
                .ok_or_else(|| io::Error::other("no such act"))?,
            folder: variable("CRIU_GATE_FOLDER")?.into(),
        })
    }

    /// Follows CRIU's system calls until the moment has come, or CRIU ends without it.
    fn stand(&self) -> io::Result<()> {
        ptrace::seize(self.criu, Options::PTRACE_O_TRACESYSGOOD)?;
        ptrace::interrupt(self.criu)?;
        while let Some(entering) = self.next_call()? {
            if entering && self.is_the_moment()? {
                self.do_it()?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lets CRIU go on until it has received something and does the next thing.
    fn until_answered(&self) -> io::Result<()> {
        let mut answered = false;
        ptrace::syscall(self.criu, None)?;
        while let Some(entering) = self.next_call()? {
            debug_assert!(entering);
            let call = fs::read_to_string(format!("/proc/{}/syscall", self.criu))?;
            let number = call.split_whitespace().next();
            let receives = number == Some(&libc::SYS_recvfrom.to_string());
            if answered && !receives {
                return Ok(());
            }
            answered |= receives;
            ptrace::syscall(self.criu, None)?;
        }
        Err(io::Error::other("CRIU ended without an answer"))
    }

    /// Lets CRIU go on to its next system call; whether it enters one (else it leaves one). `None` when it has ended.
    fn next_call(&self) -> io::Result<Option<bool>> {
        let mut signal = None;
        loop {
            match waitpid(self.criu, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::PtraceSyscall(_)) => {
                    let info = ptrace::syscall_info(self.criu)?;
                    if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                        return Ok(Some(true));
                    }
                }
                Ok(WaitStatus::Stopped(_, received)) => signal = Some(received),
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => {
                    return Ok(None);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            ptrace::syscall(self.criu, signal.take())?;
        }
    }

    /// Whether the system call that CRIU is entering is the one.
    fn is_the_moment(&self) -> io::Result<bool> {
        let call = fs::read_to_string(format!("/proc/{}/syscall", self.criu))?;
        let mut words = call.split_whitespace();
        let number: i64 = words.next().and_then(|w| w.parse().ok()).unwrap_or(-1);
        let found = if self.at == "memory" {
            number == libc::SYS_splice
        } else {
            number == libc::SYS_write && {
                let mut hex = words.map(|word| {
                    u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap_or(0)
                });
                let (fd, from, length) = (hex.next(), hex.next(), hex.next());
                self.announces(fd.unwrap_or(0), from.unwrap_or(0), length.unwrap_or(0))?
            }
        };
        if !found {
            // On to the next one; this one is left in between.
            ptrace::syscall(self.criu, None)?;
        }
        Ok(found)
    }

    /// Whether this is written to a socket and ends with the notification's name, as protobuf has it.
    fn announces(&self, fd: u64, from: u64, length: u64) -> io::Result<bool> {
        const LONGEST: usize = 256;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Ok(false);
        }
        let target = fs::read_link(format!("/proc/{}/fd/{fd}", self.criu)).unwrap_or_default();
        if !target.to_string_lossy().starts_with("socket:") {
            return Ok(false);
        }
        let mut message = vec![0; length];
        File::open(format!("/proc/{}/mem", self.criu))?.read_exact_at(&mut message, from)?;
        let mut wanted = vec![0x0a, u8::try_from(self.at.len()).map_err(io::Error::other)?];
        wanted.extend(self.at.bytes());
        Ok(message.windows(wanted.len()).any(|part| part == wanted))
    }

    fn do_it(&self) -> io::Result<()> {
        let caller = Pid::from_raw(parent(self.criu)?);
        if self.act.comes_after() {
            kill(caller, Signal::SIGSTOP)?;
            wait_until(|| state(caller) == Some('T'))?;
            if self.at != "memory" {
                ptrace::syscall(self.criu, None)?;
                waitpid(self.criu, Some(WaitPidFlag::__WALL))?;
            }
        }
        // Before the harm, which may end what the test waits for.
        fs::write(self.folder.join("acted"), "")?;
        let guardian = || guardian_of(caller).ok_or_else(|| io::Error::other("no guardian"));
        match self.act {
            Act::KillCriu => {
                kill(self.criu, Signal::SIGKILL)?;
                kill(caller, Signal::SIGCONT)?;
            }
            Act::KillAnswered => {
                self.until_answered()?;
                kill(self.criu, Signal::SIGKILL)?;
            }
            Act::KillCaller => kill(caller, Signal::SIGKILL)?,
            Act::KillCallerAndGuardian => {
                kill(guardian()?, Signal::SIGKILL)?;
                kill(caller, Signal::SIGKILL)?;
            }
            Act::KillAll => {
                kill(guardian()?, Signal::SIGKILL)?;
                kill(self.criu, Signal::SIGKILL)?;
                kill(caller, Signal::SIGKILL)?;
            }
            Act::Interrupt => signal_and_wait(caller, Signal::SIGINT)?,
            Act::Terminate => signal_and_wait(caller, Signal::SIGTERM)?,
            Act::Hold => {
                fs::write(self.folder.join("held"), format!("{caller} {}", self.criu))?;
                wait_until(|| self.folder.join("go").exists())?;
            }
        }
        match ptrace::detach(self.criu, None) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Sends a signal and waits until its receiver has taken it.
fn signal_and_wait(to: Pid, signal: Signal) -> io::Result<()> {
    kill(to, signal)?;
    wait_until(|| {
        let pending = field(to, "ShdPnd").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        pending.is_none_or(|mask| mask & (1 << (signal as u32 - 1)) == 0)
    })?;
    sleep(TAKEN);
    Ok(())
}

fn wait_until(mut done: impl FnMut() -> bool) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(LOOK_EVERY);
    }
    Ok(())
}

fn field(pid: Pid, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn state(pid: Pid) -> Option<char> {
    field(pid, "State")?.chars().next()
}

fn parent(pid: Pid) -> io::Result<i32> {
    let parent = field(pid, "PPid").and_then(|pid| pid.parse().ok());
    parent.ok_or_else(|| io::Error::other("CRIU has no parent"))
}

fn guardian_of(caller: Pid) -> Option<Pid> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(Pid::from_raw).find(|pid| {
        let name = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        name.starts_with(b"stillframe-guardian") && parent(*pid).ok() == Some(caller.as_raw())
    })
}
