//! The controller of `ContainerCheckpoint`: observe, plan, apply, report.
#![forbid(unsafe_code)]

pub mod apply;
pub mod args;
pub mod check;
pub mod cleanup;
pub mod context;
pub mod controller;
pub mod election;
pub mod events;
#[cfg(test)]
mod fixtures;
pub mod health;
pub mod index;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod pod;
pub mod receivers;
pub mod reconcile;
pub mod release;
pub mod run;
#[cfg(test)]
mod scenario;
pub mod telemetry;
pub mod watches;
pub mod written;
