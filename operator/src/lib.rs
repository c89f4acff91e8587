//! The controller of `ContainerCheckpoint`: observe, plan, apply, report.
#![forbid(unsafe_code)]
