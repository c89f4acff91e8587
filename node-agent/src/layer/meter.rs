//! A writer that counts, and stops when it is too late or too much.

use std::{
    io::{self, Write},
    time::Instant,
};

use super::{Error, Limits};

/// Counts what is written.
pub(super) struct Meter<'a, W> {
    out: W,
    limits: &'a Limits<'a>,
    pub(super) bytes: u64,
    stopped: Option<Stopped>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    TooLate,
    TooMuch,
}

impl<'a, W: Write> Meter<'a, W> {
    pub(super) fn new(out: W, limits: &'a Limits<'a>) -> Self {
        Self {
            out,
            limits,
            bytes: 0,
            stopped: None,
        }
    }

    /// Why a write failed.
    pub(super) fn error(&self, error: io::Error) -> Error {
        match self.stopped {
            Some(Stopped::TooLate) => Error::Interrupted,
            Some(Stopped::TooMuch) => Error::TooLarge {
                most: self.limits.most,
            },
            None => Error::Write(error),
        }
    }
}

impl Limits<'_> {
    /// Whether it is too late.
    pub(super) fn passed(&self) -> bool {
        (self.called_off)() || self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl<W: Write> Write for Meter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let more = self.bytes.saturating_add(bytes.len() as u64);
        self.stopped = if self.limits.passed() {
            Some(Stopped::TooLate)
        } else if more > self.limits.most {
            Some(Stopped::TooMuch)
        } else {
            None
        };
        if self.stopped.is_some() {
            return Err(io::Error::other("stopped"));
        }
        let written = self.out.write(bytes).inspect_err(|_| {
            // It may have been waited for in vain.
            self.stopped = self.limits.passed().then_some(Stopped::TooLate);
        })?;
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
