//! The engine that checkpoints one container on this node, and the command in front of it.
//!
//! `cli → checkpoint → {runtime, criu, images}`: an arrow is a use, nothing points back, and
//! nothing here knows of Kubernetes. All may use
//! `go_text`, the words in which runc reports errors, and `pidfd`.

pub mod checkpoint;
pub mod cli;
pub mod controller;
pub mod criu;
mod go_text;
pub mod images;
mod pidfd;
pub mod runtime;
