//! `--progress`: one line on a terminal that says where the checkpoint stands.

use std::io::{self, Write};

use crate::checkpoint::Step;

/// The line. Shows nothing when off.
#[derive(Debug)]
pub(crate) struct Progress {
    on: bool,
    shown: bool,
}

impl Progress {
    /// On or off.
    pub(crate) fn new(on: bool) -> Self {
        Self { on, shown: false }
    }

    /// Puts the step in the place of the one before.
    pub(crate) fn show(&mut self, step: Step) {
        if self.on {
            self.shown = true;
            // A terminal that went away does not stop a checkpoint.
            let _ = write!(io::stderr(), "\r\x1b[K{}", words(step));
        }
    }

    /// Ends the line.
    pub(crate) fn finish(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = writeln!(io::stderr());
        }
    }
}

fn words(step: Step) -> String {
    match step {
        Step::Requested => "CRIU is starting".to_owned(),
        Step::Freezing => "stopping the container's tasks".to_owned(),
        Step::Dumping => "writing the image, the container stands still".to_owned(),
        Step::Dumped => "everything is written, the container stands still".to_owned(),
        Step::Serving => "waiting for lazy pages to be fetched".to_owned(),
        Step::Released => "the container's tasks are released".to_owned(),
        Step::Publishing => "checking the image".to_owned(),
        Step::Done(pause) => {
            format!(
                "done, the container stood still for {} ms",
                pause.as_millis()
            )
        }
    }
}
