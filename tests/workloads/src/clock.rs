//! The pause as the application sees it: the largest gap between two of its own clock readings.
//!
//! The gap file has one line of [`LINE_BYTES`] bytes per process after a first line that belongs to
//! the observer: whoever wants to measure writes `epoch=N` there; each process then forgets its
//! maximum, takes over the number and goes on. A line with the epoch asked for thus holds gaps of that
//! epoch only. Lines are rewritten in place, on growth of the maximum and every 20 ms.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use clap::Args;
use nix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::random;

/// Length of each line of the gap file, newline included.
pub(crate) const LINE_BYTES: usize = 256;
/// How often a line is rewritten while nothing grows, in nanoseconds.
const HEARTBEAT_NANOS: u64 = 20_000_000;
/// What the threads beside the main one sleep between two of their ticks.
const IDLE_THREAD_TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct ClockArgs {
    /// The gap file; it should lie where a write never waits for a disk.
    #[arg(long, value_name = "FILE", default_value = "/out/gaps")]
    out: PathBuf,
    /// Processes, the first included; each reads the clocks in its main thread.
    #[arg(long, value_name = "N", default_value_t = 1)]
    procs: usize,
    /// Threads of all processes together, the main threads included; fewer than `procs` means `procs`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Anonymous memory that the first process writes once and keeps, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    dirty: usize,
    /// Microseconds of sleep between two readings.
    #[arg(long, value_name = "US", default_value_t = 200)]
    sleep_us: u64,
    /// Keeps a connection to itself open over the loopback device, so that a dump has an established one.
    #[arg(long)]
    connection: bool,
    /// Which process this is; set for the children only.
    #[arg(long, hide = true, default_value_t = 0)]
    index: usize,
}

/// Runs the first process, its children and its threads; never ends by itself.
pub(crate) fn run(args: &ClockArgs) -> Result<(), Error> {
    let file = open_gap_file(&args.out, args.procs)?;
    let content = dirty_memory(args);
    let _children = start_children(args)?;
    let _connection = if args.connection {
        Some(connect_to_itself()?)
    } else {
        None
    };
    for _ in 1..threads_of(args.index, args.procs, args.threads) {
        thread::spawn(|| {
            loop {
                thread::sleep(IDLE_THREAD_TICK);
            }
        });
    }
    let watch = Watch {
        file,
        path: args.out.clone(),
        index: args.index,
        sleep: Duration::from_micros(args.sleep_us),
        memory: &content,
    };
    watch.run()
}

/// The content that makes the dump large; only the first process has one.
fn dirty_memory(args: &ClockArgs) -> Vec<u8> {
    if args.index == 0 {
        random::bytes(1, args.dirty << 20)
    } else {
        Vec::new()
    }
}

/// How many threads process `index` of `procs` has when all of them together have `total`.
fn threads_of(index: usize, procs: usize, total: usize) -> usize {
    let procs = procs.max(1);
    let extra = total.saturating_sub(procs);
    1 + extra / procs + usize::from(index < extra % procs)
}

fn open_gap_file(path: &Path, procs: usize) -> Result<File, Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| Error::file("make", folder, source))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| Error::file("open", path, source))?;
    let size = u64::try_from((procs + 1) * LINE_BYTES).unwrap_or(u64::MAX);
    file.set_len(size)
        .map_err(|source| Error::file("size", path, source))?;
    Ok(file)
}

/// Both ends of an established connection, and the socket that it came in by.
fn connect_to_itself() -> Result<(TcpListener, TcpStream, TcpStream), Error> {
    let lost = |source| Error::system("connect to itself", source);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(lost)?;
    let near = TcpStream::connect(listener.local_addr().map_err(lost)?).map_err(lost)?;
    let (far, _) = listener.accept().map_err(lost)?;
    Ok((listener, near, far))
}

fn start_children(args: &ClockArgs) -> Result<Vec<Child>, Error> {
    if args.index != 0 {
        return Ok(Vec::new());
    }
    (1..args.procs)
        .map(|index| {
            Command::new("/proc/self/exe")
                .arg("clock")
                .arg("--out")
                .arg(&args.out)
                .args(["--procs", &args.procs.to_string()])
                .args(["--threads", &args.threads.to_string()])
                .args(["--sleep-us", &args.sleep_us.to_string()])
                .args(["--index", &index.to_string()])
                .spawn()
                .map_err(|source| Error::system("start a child", source))
        })
        .collect()
}

/// What one process has seen since its epoch began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    epoch: u64,
    ticks: u64,
    max_gap_nanos: u64,
    max_gap_end_nanos: u64,
    max_boot_gap_nanos: u64,
}

impl Seen {
    /// Takes one pair of consecutive readings in; true when a maximum grew.
    fn take(&mut self, before: Reading, now: Reading) -> bool {
        self.ticks += 1;
        let gap = now.monotonic.saturating_sub(before.monotonic);
        let boot_gap = now.boot.saturating_sub(before.boot);
        let grew = gap > self.max_gap_nanos || boot_gap > self.max_boot_gap_nanos;
        if gap > self.max_gap_nanos {
            self.max_gap_nanos = gap;
            self.max_gap_end_nanos = now.monotonic;
        }
        self.max_boot_gap_nanos = self.max_boot_gap_nanos.max(boot_gap);
        grew
    }

    /// The line of the gap file.
    fn line(&self, pid: u32, now: Reading) -> Vec<u8> {
        let text = format!(
            "epoch={} pid={pid} ticks={} max_gap_ns={} max_gap_end_ns={} max_boot_gap_ns={} now_ns={}",
            self.epoch,
            self.ticks,
            self.max_gap_nanos,
            self.max_gap_end_nanos,
            self.max_boot_gap_nanos,
            now.monotonic
        );
        let mut line = text.into_bytes();
        line.resize(LINE_BYTES - 1, b' ');
        line.push(b'\n');
        line
    }
}

/// Both clocks at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Reading {
    monotonic: u64,
    boot: u64,
}

impl Reading {
    fn now() -> Result<Self, Error> {
        Ok(Self {
            monotonic: nanos(ClockId::CLOCK_MONOTONIC)?,
            boot: nanos(ClockId::CLOCK_BOOTTIME)?,
        })
    }
}

fn nanos(clock: ClockId) -> Result<u64, Error> {
    let time = clock_gettime(clock).map_err(|source| Error::system("read a clock", source))?;
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Ok(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0))
}

/// The epoch that the observer asks for; 0 until it has asked once.
fn parse_epoch(line: &[u8]) -> u64 {
    std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.strip_prefix("epoch="))
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// One process that reads its clocks.
struct Watch<'a> {
    file: File,
    path: PathBuf,
    index: usize,
    sleep: Duration,
    memory: &'a [u8],
}

impl Watch<'_> {
    fn run(&self) -> Result<(), Error> {
        let mut seen = Seen::default();
        let mut before = Reading::now()?;
        let mut written = 0;
        loop {
            thread::sleep(self.sleep);
            let now = Reading::now()?;
            let grew = seen.take(before, now);
            // Time spent below is part of the next gap: nothing that delays this process is left out.
            before = now;
            let asked = self.asked_epoch()?;
            if asked != seen.epoch {
                seen = Seen {
                    epoch: asked,
                    ..Seen::default()
                };
                self.write(&seen, now)?;
                written = now.monotonic;
            } else if grew || now.monotonic.saturating_sub(written) >= HEARTBEAT_NANOS {
                self.write(&seen, now)?;
                written = now.monotonic;
            }
            std::hint::black_box(self.memory);
        }
    }

    fn asked_epoch(&self) -> Result<u64, Error> {
        let mut line = [0; 32];
        let length = self
            .file
            .read_at(&mut line, 0)
            .map_err(|source| Error::file("read", self.path.as_path(), source))?;
        Ok(parse_epoch(line.get(..length).unwrap_or_default()))
    }

    fn write(&self, seen: &Seen, now: Reading) -> Result<(), Error> {
        let offset = u64::try_from((self.index + 1) * LINE_BYTES).unwrap_or(u64::MAX);
        self.file
            .write_all_at(&seen.line(std::process::id(), now), offset)
            .map_err(|source| Error::file("write", self.path.as_path(), source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_threads_are_shared_out_over_twenty_processes() {
        let each: Vec<usize> = (0..20).map(|index| threads_of(index, 20, 64)).collect();
        assert_eq!(each.iter().sum::<usize>(), 64);
        assert!(each.iter().all(|threads| (3..=4).contains(threads)));
    }

    #[test]
    fn a_process_has_at_least_its_main_thread() {
        assert_eq!(threads_of(0, 1, 0), 1);
        assert_eq!(
            (0..5).map(|index| threads_of(index, 5, 2)).sum::<usize>(),
            5
        );
    }

    #[test]
    fn the_largest_gap_is_kept_with_its_end() {
        let at = |nanos| Reading {
            monotonic: nanos,
            boot: nanos,
        };
        let mut seen = Seen::default();
        assert!(seen.take(at(0), at(10)));
        assert!(seen.take(at(10), at(60)));
        assert!(!seen.take(at(60), at(70)));
        assert_eq!(seen.max_gap_nanos, 50);
        assert_eq!(seen.max_gap_end_nanos, 60);
        assert_eq!(seen.ticks, 3);
    }

    #[test]
    fn a_line_has_one_length() {
        let mut seen = Seen::default();
        assert_eq!(seen.line(1, Reading::default()).len(), LINE_BYTES);
        seen.max_gap_nanos = u64::MAX;
        seen.max_gap_end_nanos = u64::MAX;
        seen.max_boot_gap_nanos = u64::MAX;
        seen.ticks = u64::MAX;
        seen.epoch = u64::MAX;
        let line = seen.line(
            u32::MAX,
            Reading {
                monotonic: u64::MAX,
                boot: u64::MAX,
            },
        );
        assert_eq!(line.len(), LINE_BYTES);
        assert!(!line[..LINE_BYTES - 1].contains(&b'\n'));
    }

    #[test]
    fn an_epoch_is_read_from_the_first_line_only_when_it_is_whole() {
        assert_eq!(parse_epoch(b"epoch=12\n\0\0"), 12);
        assert_eq!(parse_epoch(b"\0\0\0\0"), 0);
        assert_eq!(parse_epoch(b""), 0);
        assert_eq!(parse_epoch(b"epoch=x"), 0);
    }
}
