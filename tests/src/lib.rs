//! The rig's harness: a real node on one machine, and real containers in it, for the tests and the benchmark.
//!
//! A [`Node`] is a Debian root with CRIU, runc, crun and containerd in namespaces and cgroups of its own; `tests/rig` makes
//! and removes it. A [`Container`](container::Container) is an OCI container that one of the node's runtimes started. Everything
//! here fails by panicking with an explanation, since its callers are tests.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the harness is test code: what goes wrong in it ends the test that called it, with an explanation"
)]

pub mod cluster;
pub mod compare;
pub mod container;
pub mod criu_image;
pub mod gate;
pub mod installation;
pub mod mission;
pub mod node;
pub mod pipe_limit;
pub mod pod;
pub mod program;
pub mod recorder;
pub mod scene;
pub mod shown;
pub mod stage;
pub mod traces;
pub mod vm;
pub mod wire;
pub mod witness;

pub use cluster::Cluster;
pub use container::{Container, Shape};
pub use gate::Gate;
pub use installation::{Installation, Values};
pub use mission::{Checkpoint, Mission};
pub use node::{Node, Output};
pub use pipe_limit::PipeLimit;
pub use pod::Pod;
pub use program::Program;
pub use scene::Scene;
pub use stage::Stage;
pub use traces::Traces;
pub use witness::Witness;
