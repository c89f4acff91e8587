//! The harness: a real node on this machine, real containers in it, and what the suites say about them.
#![forbid(unsafe_code)]

pub mod compare;
