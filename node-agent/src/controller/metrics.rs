//! What is counted: dumps by result and reason, pauses, durations, bytes. No label names an object.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use stillframe_crds::{ContainerCheckpoint, Reason};

use super::place::SavedReport;

/// Seconds, from a few milliseconds to an hour.
const SECONDS: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];
/// Bytes, from 1 MiB to 256 GiB.
const BYTES: [f64; 10] = [
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    17_179_869_184.0,
    68_719_476_736.0,
    274_877_906_944.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    result: &'static str,
    reason: &'static str,
}

/// The agent's metrics. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    dumps: Family<Ending, Counter>,
    pause: Histogram,
    duration: Histogram,
    bytes: Histogram,
    /// Objects of this node that are known.
    pub objects: Gauge,
    /// Jobs under way, waiting ones included.
    pub jobs: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            dumps: Family::default(),
            pause: Histogram::new(SECONDS),
            duration: Histogram::new(SECONDS),
            bytes: Histogram::new(BYTES),
            objects: Gauge::default(),
            jobs: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Names them.
    pub fn register(&self, registry: &mut Registry) {
        let Self {
            dumps,
            pause,
            duration,
            bytes,
            objects,
            jobs,
        } = self.clone();
        let all = registry.sub_registry_with_prefix("stillframe_agent");
        all.register("dumps", "Checkpoints that have ended", dumps);
        let seconds = |all: &mut Registry, name, help, metric| {
            all.register_with_unit(name, help, Unit::Seconds, metric);
        };
        seconds(all, "pause", "How long containers stood still", pause);
        seconds(
            all,
            "duration",
            "From the beginning of a dump to its published image",
            duration,
        );
        all.register_with_unit("image", "Sizes of images", Unit::Bytes, bytes);
        all.register("objects", "Objects of this node that are known", objects);
        all.register("jobs", "Objects on which the agent works", jobs);
    }

    /// An image is complete.
    pub fn succeeded(&self, object: &ContainerCheckpoint, saved: &SavedReport) {
        let reason = if object.spec.options.pre_dump {
            Reason::PreDumped
        } else {
            Reason::Checkpointed
        };
        self.count("success", reason);
        if let Some(pause) = saved.pause_microseconds {
            self.pause.observe(number(pause) / 1e6);
        }
        self.bytes.observe(number(saved.size_bytes));
        let took = saved.dump_microseconds + saved.publish_microseconds;
        self.duration.observe(number(took) / 1e6);
    }

    /// A checkpoint has failed.
    pub fn failed(&self, reason: Reason) {
        self.count("failure", reason);
    }

    fn count(&self, result: &'static str, reason: Reason) {
        let reason = reason.as_str();
        self.dumps.get_or_create(&Ending { result, reason }).inc();
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a histogram's buckets are far wider than what is lost"
)]
fn number(value: u64) -> f64 {
    value as f64
}
