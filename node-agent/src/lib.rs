//! The engine that checkpoints one container on this node, the command in front of it, and the agent
//! that serves the API.
//!
//! `{cli, controller} → checkpoint → {runtime, criu, images, layer}`: an arrow is a use, nothing points back,
//! and only `controller` knows of Kubernetes. All may use
//! `go_text`, the words in which runc reports errors, `pidfd`, and `apart`, how children are started. What `preflight` and the
//! controller tell of a node, `host` finds out.

pub mod apart;
pub mod checkpoint;
pub mod cli;
pub mod controller;
pub mod criu;
mod go_text;
mod host;
pub mod images;
pub mod layer;
mod pidfd;
pub mod runtime;
