//! Unix sockets whose other end belongs to somebody outside.

use std::io::Write as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::Publishing;
use crate::error::Error;
use crate::state::StateFile;

#[derive(Debug, Args)]
pub(crate) struct UnixArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// The path of the peer's socket.
    #[arg(long, value_name = "PATH")]
    peer: PathBuf,
}

/// Sends `seq=N session=S` datagrams; publishes `sent` and `failed`. CRIU dumps it with --ext-unix-sk.
pub(crate) fn run_dgram(args: &UnixArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "unix-dgram")?;
    let socket =
        UnixDatagram::unbound().map_err(|source| Error::system("make a socket", source))?;
    socket
        .connect(&args.peer)
        .map_err(|source| Error::file("connect to", args.peer.as_path(), source))?;
    socket
        .set_nonblocking(true)
        .map_err(|source| Error::system("set a socket up", source))?;
    send(args, &mut state, |message| socket.send(message).is_ok())
}

/// Sends `seq=N session=S` lines; publishes `sent` and `failed`. CRIU cannot dump half of a stream.
pub(crate) fn run_stream(args: &UnixArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "unix-stream")?;
    let mut socket = UnixStream::connect(&args.peer)
        .map_err(|source| Error::file("connect to", args.peer.as_path(), source))?;
    send(args, &mut state, |message| {
        socket.write_all(message).is_ok()
    })
}

fn send(
    args: &UnixArgs,
    state: &mut StateFile,
    mut accepts: impl FnMut(&[u8]) -> bool,
) -> Result<(), Error> {
    let (mut ticks, mut sent, mut failed) = (0_u64, 0_u64, 0_u64);
    loop {
        ticks += 1;
        let message = format!("seq={ticks} session={}\n", state.session());
        if accepts(message.as_bytes()) {
            sent += 1;
        } else {
            failed += 1;
        }
        state.publish(&[("ticks", &ticks), ("sent", &sent), ("failed", &failed)])?;
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}
