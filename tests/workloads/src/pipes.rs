//! Bytes in a pipe that nobody has read yet.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use clap::Args;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use crate::cli::Publishing;
use crate::error::Error;
use crate::random;
use crate::state::StateFile;

#[derive(Debug, Args)]
pub(crate) struct PipesArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// Pipes, each with its own content.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pipes: usize,
    /// Bytes that stay unread in each pipe between two ticks.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    bytes: usize,
}

/// One pipe and the seed of what is in it now.
#[derive(Debug)]
struct Filled {
    reader: File,
    writer: File,
    seed: u64,
}

impl Filled {
    fn create(seed: u64, bytes: usize) -> Result<Self, Error> {
        let (reader, writer) =
            pipe2(OFlag::O_CLOEXEC).map_err(|source| Error::system("make a pipe", source))?;
        let size = i32::try_from(bytes).unwrap_or(i32::MAX);
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(size))
            .map_err(|source| Error::system("size a pipe", source))?;
        let mut this = Self {
            reader: File::from(reader),
            writer: File::from(writer),
            seed,
        };
        this.fill(bytes)?;
        Ok(this)
    }

    fn fill(&mut self, bytes: usize) -> Result<(), Error> {
        self.writer
            .write_all(&random::bytes(self.seed, bytes))
            .map_err(|source| Error::system("fill a pipe", source))
    }

    /// Takes everything out and puts the next content in; true when what came out was right.
    fn turn(&mut self, bytes: usize) -> Result<bool, Error> {
        let mut content = vec![0; bytes];
        self.reader
            .read_exact(&mut content)
            .map_err(|source| Error::system("empty a pipe", source))?;
        let right = content == random::bytes(self.seed, bytes);
        self.seed = self.seed.wrapping_add(1);
        self.fill(bytes)?;
        Ok(right)
    }
}

/// Publishes `ticks`, `pipes`, `bytes` in flight per pipe and `corrupt` turns.
pub(crate) fn run(args: &PipesArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "pipes")?;
    let mut pipes = (0..args.pipes)
        .map(|index| Filled::create(u64::try_from(index).unwrap_or(0) << 32, args.bytes))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut ticks, mut corrupt) = (0_u64, 0_u64);
    loop {
        ticks += 1;
        for pipe in &mut pipes {
            corrupt += u64::from(!pipe.turn(args.bytes)?);
        }
        state.publish(&[
            ("ticks", &ticks),
            ("pipes", &pipes.len()),
            ("bytes", &args.bytes),
            ("corrupt", &corrupt),
        ])?;
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_right_turn_after_turn() {
        let mut pipe = Filled::create(5, 8192).expect("pipe");
        assert!(pipe.turn(8192).expect("first turn"));
        assert!(pipe.turn(8192).expect("second turn"));
    }

    #[test]
    fn other_content_is_noticed() {
        let mut pipe = Filled::create(5, 4096).expect("pipe");
        pipe.seed += 1;
        assert!(!pipe.turn(4096).expect("turn"));
    }
}
