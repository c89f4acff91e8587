//! The modes and their arguments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Error;
use crate::{
    clock, count, dirty, locks, memory, pipes, processes, tcp, threads, tty, unix, unlinked,
};

/// Runs one kind of state that a checkpoint must carry.
#[derive(Debug, Parser)]
pub(crate) struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

/// Where the mode says what it is doing.
#[derive(Debug, Args)]
pub(crate) struct Publishing {
    /// The file with the mode's state as key=value lines; always 4096 bytes long.
    #[arg(long, value_name = "FILE", default_value = "/out/state")]
    pub(crate) state: PathBuf,
    /// Milliseconds between two ticks.
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub(crate) tick_ms: u64,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Reads its clocks all the time and keeps the largest gap between two readings.
    Clock(clock::ClockArgs),
    /// Counts in memory, writes the number at each tick and prints it.
    Count(count::CountArgs),
    /// Echoes numbered messages on established connections.
    TcpServer(tcp::ServerArgs),
    /// Sends numbered messages and checks the echo.
    TcpClient(tcp::ClientArgs),
    /// Listens and never accepts, so that connections stay in the queue.
    HalfOpen(tcp::HalfOpenArgs),
    /// A datagram socket that is connected to a socket of somebody else.
    UnixDgram(unix::UnixArgs),
    /// A stream socket whose other end is somebody else's.
    UnixStream(unix::UnixArgs),
    /// Holds an flock.
    Flock(locks::LockArgs),
    /// Holds a POSIX record lock.
    PosixLock(locks::LockArgs),
    /// Holds a lease.
    Lease(locks::LockArgs),
    /// Keeps a file open whose name is gone.
    Unlinked(unlinked::UnlinkedArgs),
    /// Says what its terminal is and echoes what is typed.
    Tty(Publishing),
    /// Many threads, each with a counter of its own.
    Threads(threads::ThreadsArgs),
    /// Starts short-lived children without end.
    ForkStorm(processes::ForkStormArgs),
    /// Ends by itself after a while.
    ExitAfterMs(processes::ExitArgs),
    /// Memory with known content, checked again and again.
    Memory(memory::MemoryArgs),
    /// Memory of which a share is written each second.
    Dirty(dirty::DirtyArgs),
    /// Bytes that are always on their way through a pipe.
    Pipes(pipes::PipesArgs),
}

/// The address that a TCP mode uses.
pub(crate) type Address = SocketAddr;

/// Runs the mode until it ends, which most never do by themselves.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Error> {
    let done = match cli.mode {
        Mode::Clock(args) => clock::run(&args),
        Mode::Count(args) => count::run(&args),
        Mode::TcpServer(args) => tcp::serve(&args),
        Mode::TcpClient(args) => tcp::connect(&args),
        Mode::HalfOpen(args) => tcp::listen_only(&args),
        Mode::UnixDgram(args) => unix::run_dgram(&args),
        Mode::UnixStream(args) => unix::run_stream(&args),
        Mode::Flock(args) => locks::hold_flock(&args),
        Mode::PosixLock(args) => locks::hold_posix_lock(&args),
        Mode::Lease(args) => locks::hold_lease(&args),
        Mode::Unlinked(args) => unlinked::run(&args),
        Mode::Tty(publishing) => tty::run(&publishing),
        Mode::Threads(args) => threads::run(&args),
        Mode::ForkStorm(args) => processes::fork_storm(&args),
        Mode::ExitAfterMs(args) => return Ok(processes::exit_after(&args)),
        Mode::Memory(args) => memory::run(&args),
        Mode::Dirty(args) => dirty::run(&args),
        Mode::Pipes(args) => pipes::run(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}
