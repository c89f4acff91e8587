//! One row on a real node: its container, its rounds, its samples.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use node_agent::images::DumpStats;
use rig::container::{self, Container};
use rig::pod::{Containerd, RUNC_ROOT};
use rig::{Node, Pod};

use crate::error::Error;
use crate::gaps;
use crate::plan::{CONTENDERS, Contender, Row, Shape, order};
use crate::summary::{Measured, RowResult, Sample, Spread};

/// How long the workload may need to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rest before each checkpoint, so that the one before has no part in it.
const REST: Duration = Duration::from_millis(60);
/// How long the workload is watched without a checkpoint, per window.
const NOISE_WINDOW: Duration = Duration::from_millis(300);
const NOISE_WINDOWS: usize = 10;
/// Makes bash say when a command began and ended, in microseconds; its fork and exec included.
pub(crate) const TIMED: &str = "s=$EPOCHREALTIME; \"$@\"; r=$?; e=$EPOCHREALTIME; echo \"wall_us=$(( ${e/[.,]/} - ${s/[.,]/} ))\"; exit $r";

/// What the command line decides.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Measured rounds of each row.
    pub(crate) rounds: usize,
    /// Rounds before them, not measured.
    pub(crate) warm_ups: usize,
    /// runc's command in the node.
    pub(crate) runc: String,
    /// Our command in the node.
    pub(crate) ours: String,
    /// Where in the node the images go.
    pub(crate) images: String,
    /// Where on this machine CRIU's logs are kept.
    pub(crate) logs: Option<PathBuf>,
}

/// A row's container while it runs.
enum Running<'node> {
    Plain(Container<'node>),
    Pod(Pod<'node>),
}

impl Running<'_> {
    fn root(&self) -> &'static str {
        match self {
            Self::Plain(_) => container::Runtime::Runc.root(),
            Self::Pod(_) => RUNC_ROOT,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Plain(container) => container.id(),
            Self::Pod(pod) => pod.id(),
        }
    }
}

/// Measures rows in one node.
pub(crate) struct Bench<'node> {
    node: &'node Node,
    containerd: &'node Containerd<'node>,
    settings: Settings,
}

impl<'node> Bench<'node> {
    pub(crate) fn new(
        node: &'node Node,
        containerd: &'node Containerd<'node>,
        settings: Settings,
    ) -> Self {
        Self {
            node,
            containerd,
            settings,
        }
    }

    /// Starts the row's container, measures every round and ends the container.
    pub(crate) fn measure(&self, row: Row) -> Result<RowResult, Error> {
        let running = self.start(row);
        let mut epoch = 0;
        let noise = self.noise(row, &mut epoch)?;
        let mut samples: Vec<(Contender, Sample)> = Vec::new();
        for round in 0..self.settings.warm_ups + self.settings.rounds {
            for contender in order(round) {
                epoch += 1;
                let sample = self.checkpoint(row, &running, contender, round, epoch)?;
                if round >= self.settings.warm_ups {
                    samples.push((contender, sample));
                }
            }
        }
        let of = |wanted: Contender| {
            let own = samples.iter().filter(|(contender, _)| *contender == wanted);
            Measured::of(wanted, own.map(|(_, sample)| *sample).collect())
        };
        Ok(RowResult::of(row, noise, CONTENDERS.map(of)))
    }

    /// The gap file lies in the node's memory, so that writing it never waits for a disk.
    fn folder(row: Row) -> String {
        format!("/run/bench/{}", row.name)
    }

    fn start(&self, row: Row) -> Running<'node> {
        let folder = Self::folder(row);
        self.node
            .shell(&format!(
                "mkdir -p {folder} {images} && cp /run/rig/bin/workload {folder}/",
                images = self.settings.images
            ))
            .ok();
        let command: Vec<&str> = ["/out/workload", "clock", "--out", "/out/gaps"]
            .into_iter()
            .chain(row.workload.iter().copied())
            .collect();
        let id = format!("bench-{}", row.name);
        match row.shape {
            Shape::Plain => Running::Plain(
                rig::Shape::new(self.node, id)
                    .bind(&folder, "/out", &["rw"])
                    .args(&command)
                    .start(),
            ),
            Shape::Pod => {
                let mounts = self.pod_mounts(&folder);
                let flags: Vec<&str> = mounts
                    .iter()
                    .flat_map(|mount| ["--mount", mount.as_str()])
                    .collect();
                let script = format!("exec {}", command.join(" "));
                Running::Pod(self.containerd.pod(&id, &script, &flags))
            }
        }
    }

    /// The bind mounts that the kubelet gives to every container.
    fn pod_mounts(&self, folder: &str) -> Vec<String> {
        let files = [
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/dev/termination-log",
        ];
        let mut mounts = vec![format!("type=bind,src={folder},dst=/out,options=rbind:rw")];
        for file in files {
            let source = format!("{folder}{}", file.replace('/', "-"));
            self.node.run(&["touch", &source]).ok();
            mounts.push(format!(
                "type=bind,src={source},dst={file},options=rbind:rw"
            ));
        }
        mounts
    }

    /// Asks every process for a new maximum and waits until all have begun.
    fn begin(&self, row: Row, epoch: u64) -> Result<(), Error> {
        let file = format!("{}/gaps", Self::folder(row));
        // A whole line, so that what stands behind it begins with the first process.
        let script = format!(
            "printf '%-255s\\n' epoch={epoch} | dd of={file} conv=notrunc bs=256 count=1 status=none"
        );
        self.node.shell(&script).ok();
        self.wait(row, epoch, 0).map(drop)
    }

    /// The largest gap of the epoch, once every process has written after this moment.
    fn wait(&self, row: Row, epoch: u64, after: u64) -> Result<u64, Error> {
        let file = format!("{}/gaps", Self::folder(row));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let text = self.node.run(&["cat", &file]);
            let lines = gaps::parse(&text.stdout);
            if let Some(gap) = gaps::largest(&lines, row.processes, epoch, after) {
                return Ok(gap);
            }
            sleep(Duration::from_millis(5));
        }
        Err(Error::Silent {
            row: row.name,
            seconds: PATIENCE.as_secs(),
        })
    }

    fn noise(&self, row: Row, epoch: &mut u64) -> Result<Spread, Error> {
        // The container has just started; its file may not be there yet.
        self.node
            .shell(&format!(
                "until [ -s {}/gaps ]; do sleep 0.05; done",
                Self::folder(row)
            ))
            .ok();
        let mut windows = Vec::new();
        for _ in 0..NOISE_WINDOWS {
            *epoch += 1;
            self.begin(row, *epoch)?;
            sleep(NOISE_WINDOW);
            windows.push(milliseconds(self.wait(row, *epoch, monotonic_nanos())?));
        }
        Ok(Spread::of(windows))
    }

    fn command(&self, row: Row, running: &Running<'_>, contender: Contender) -> Vec<String> {
        let (program, own): (_, &[&str]) = match contender {
            Contender::Runc => (&self.settings.runc, &[]),
            Contender::Ours => (&self.settings.ours, &[]),
            Contender::Durable => (&self.settings.ours, &["--durable"]),
        };
        let beyond = if contender == Contender::Runc {
            &[]
        } else {
            row.our_flags
        };
        let image = format!("{}/image", self.settings.images);
        let start = [
            program.as_str(),
            "--root",
            running.root(),
            "checkpoint",
            "--leave-running",
        ];
        start
            .into_iter()
            .chain(["--image-path", image.as_str()])
            .chain(row.flags.iter().chain(beyond).chain(own).copied())
            .chain([running.id()])
            .map(str::to_owned)
            .collect()
    }

    fn checkpoint(
        &self,
        row: Row,
        running: &Running<'_>,
        contender: Contender,
        round: usize,
        epoch: u64,
    ) -> Result<Sample, Error> {
        let image = format!("{}/image", self.settings.images);
        let command = self.command(row, running, contender);
        self.begin(row, epoch)?;
        sleep(REST);
        let output = self
            .node
            .command("bash")
            .args(["-c", TIMED, "timed"])
            .args(&command)
            .output();
        let end = monotonic_nanos();
        if !output.succeeded() {
            let log = self
                .node
                .shell(&format!("grep -h Error {image}/dump.log || true"))
                .stdout;
            let stderr = format!("{}{log}", output.stderr);
            return Err(Error::Round {
                row: row.name,
                round,
                command,
                stderr,
            });
        }
        let pause = milliseconds(self.wait(row, epoch, end)?);
        let unreadable = |what, text: String| Error::Unreadable {
            what,
            row: row.name,
            round,
            text,
        };
        let wall = wall_micros(&output.stdout)
            .ok_or_else(|| unreadable("the time", output.stdout.clone()))?;
        let stats = self.node.path(format!("{image}/stats-dump"));
        let stats = std::fs::read(&stats).map_err(|source| Error::File {
            what: "read",
            path: stats,
            source,
        })?;
        let stats = DumpStats::parse(&stats)
            .map_err(|error| unreadable("CRIU's figures", error.to_string()))?;
        self.keep_log(row, contender, &image)?;
        self.node.run(&["rm", "-r", &image]).ok();
        Ok(Sample {
            round,
            wall: f64::from(wall) / 1000.0,
            pause,
            frozen: f64::from(stats.frozen_time) / 1000.0,
            freezing: f64::from(stats.freezing_time) / 1000.0,
        })
    }
}

impl Bench<'_> {
    /// Keeps CRIU's log of the latest round, where that is wanted.
    fn keep_log(&self, row: Row, contender: Contender, image: &str) -> Result<(), Error> {
        let Some(folder) = &self.settings.logs else {
            return Ok(());
        };
        let name = format!("{}-{contender:?}.log", row.name).to_lowercase();
        let failed = |source| Error::File {
            what: "keep",
            path: folder.join(&name),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        std::fs::copy(
            self.node.path(format!("{image}/dump.log")),
            folder.join(&name),
        )
        .map(drop)
        .map_err(failed)
    }
}

/// The line that [`TIMED`] prints.
pub(crate) fn wall_micros(stdout: &str) -> Option<u32> {
    stdout
        .lines()
        .find_map(|line| line.strip_prefix("wall_us="))?
        .trim()
        .parse()
        .ok()
}

/// Now, on the clock that the workload reads too.
fn monotonic_nanos() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(now.tv_sec()) * 1_000_000_000 + part(now.tv_nsec())
}

/// Nanoseconds as milliseconds, exact to the microsecond.
fn milliseconds(nanos: u64) -> f64 {
    f64::from(u32::try_from(nanos / 1000).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_among_other_lines() {
        assert_eq!(wall_micros("hello\nwall_us=1234\n"), Some(1234));
        assert_eq!(wall_micros("hello\n"), None);
    }

    #[test]
    fn nanoseconds_become_milliseconds() {
        assert!((milliseconds(1_500_000) - 1.5).abs() < 1e-9);
    }
}
