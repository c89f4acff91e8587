//! TCP connections in every state that a dump has an opinion about.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::{Address, Publishing};
use crate::error::Error;
use crate::random;
use crate::state::StateFile;

/// Bytes of a message: its number, then content that follows from the number.
const MESSAGE_BYTES: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// The address to listen at.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7001")]
    listen: Address,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// The peer, inside or outside the container.
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: Address,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// Connects and never sends.
    #[arg(long)]
    silent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HalfOpenArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// The address to listen at.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7002")]
    listen: Address,
    /// Keeps connections in `SYN_RECV` for this many seconds, until their first byte (`TCP_DEFER_ACCEPT`);
    /// without it they wait established in the accept queue.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    defer_accept: i32,
}

/// What the connections have seen so far.
#[derive(Debug, Default)]
struct Tally {
    connections: AtomicU64,
    messages: AtomicU64,
    mismatches: AtomicU64,
    broken: AtomicU64,
}

impl Tally {
    fn publish(&self, state: &mut StateFile, ticks: u64) -> Result<(), Error> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        state.publish(&[
            ("ticks", &ticks),
            ("connections", &of(&self.connections)),
            ("messages", &of(&self.messages)),
            ("mismatches", &of(&self.mismatches)),
            ("broken", &of(&self.broken)),
        ])
    }
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The message with this number.
fn message(number: u64) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    let (head, tail) = message.split_at_mut(8);
    head.copy_from_slice(&number.to_le_bytes());
    tail.copy_from_slice(&random::bytes(number, MESSAGE_BYTES - 8));
    message
}

/// Echoes messages; publishes `connections`, `messages`, `mismatches` (a number that was not the next one, or
/// other content) and `broken` (connections that ended).
pub(crate) fn serve(args: &ServerArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "tcp-server")?;
    let listener = TcpListener::bind(args.listen)
        .map_err(|source| Error::tcp("listen at", args.listen, source))?;
    let tally = Arc::new(Tally::default());
    let counts = Arc::clone(&tally);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            add_one(&counts.connections);
            let counts = Arc::clone(&counts);
            thread::spawn(move || {
                let _ended = echo(stream, &counts);
                add_one(&counts.broken);
            });
        }
    });
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        tally.publish(&mut state, ticks)?;
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}

fn echo(mut stream: TcpStream, tally: &Tally) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut expected: u64 = 1;
    loop {
        let mut received = [0; MESSAGE_BYTES];
        stream.read_exact(&mut received)?;
        if received != message(expected) {
            add_one(&tally.mismatches);
        }
        expected += 1;
        stream.write_all(&received)?;
        add_one(&tally.messages);
    }
}

/// Sends messages on each connection and checks the echo; publishes what [`serve`] publishes.
pub(crate) fn connect(args: &ClientArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "tcp-client")?;
    let tally = Arc::new(Tally::default());
    let tick = Duration::from_millis(args.publishing.tick_ms);
    let mut silent = Vec::new();
    for _ in 0..args.connections {
        let stream = TcpStream::connect(args.connect)
            .map_err(|source| Error::tcp("connect to", args.connect, source))?;
        add_one(&tally.connections);
        if args.silent {
            silent.push(stream);
            continue;
        }
        let counts = Arc::clone(&tally);
        thread::spawn(move || {
            let _ended = talk(stream, &counts, tick);
            add_one(&counts.broken);
        });
    }
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        tally.publish(&mut state, ticks)?;
        thread::sleep(tick);
    }
}

fn talk(mut stream: TcpStream, tally: &Tally, tick: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut number: u64 = 0;
    loop {
        number += 1;
        stream.write_all(&message(number))?;
        let mut received = [0; MESSAGE_BYTES];
        stream.read_exact(&mut received)?;
        if received == message(number) {
            add_one(&tally.messages);
        } else {
            add_one(&tally.mismatches);
        }
        thread::sleep(tick);
    }
}

/// Listens without accepting; publishes `listening`. CRIU dumps it with --tcp-skip-in-flight once a peer waits.
pub(crate) fn listen_only(args: &HalfOpenArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "half-open")?;
    let listener = TcpListener::bind(args.listen)
        .map_err(|source| Error::tcp("listen at", args.listen, source))?;
    if args.defer_accept > 0 {
        defer_accept(&listener, args.defer_accept)
            .map_err(|source| Error::tcp("defer accepting at", args.listen, source))?;
    }
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        let address = listener
            .local_addr()
            .map_err(|source| Error::tcp("look at the socket of", args.listen, source))?;
        state.publish(&[("ticks", &ticks), ("listening", &address)])?;
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}

/// Sets `TCP_DEFER_ACCEPT`, which neither std nor nix has.
fn defer_accept(listener: &TcpListener, seconds: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    #[expect(unsafe_code, reason = "nix has no wrapper for TCP_DEFER_ACCEPT")]
    // SAFETY: the descriptor is open while `listener` is borrowed, and the option value is a live c_int
    // whose size is passed with it.
    let answer = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_different_numbers_differ_beyond_the_number() {
        assert_ne!(message(1)[8..], message(2)[8..]);
        assert_eq!(message(7), message(7));
        assert_eq!(message(7)[..8], 7_u64.to_le_bytes());
    }

    #[test]
    fn an_echoed_conversation_has_no_mismatch() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
        let address = listener.local_addr().expect("address");
        let server = Arc::new(Tally::default());
        let counts = Arc::clone(&server);
        let serving = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("connection");
            let _ended = echo(stream, &counts);
        });
        let mut stream = TcpStream::connect(address).expect("connected");
        for number in 1..=3 {
            stream.write_all(&message(number)).expect("sent");
            let mut received = [0; MESSAGE_BYTES];
            stream.read_exact(&mut received).expect("echo");
            assert_eq!(received, message(number));
        }
        drop(stream);
        serving.join().expect("server");
        assert_eq!(server.messages.load(Ordering::Relaxed), 3);
        assert_eq!(server.mismatches.load(Ordering::Relaxed), 0);
    }
}
