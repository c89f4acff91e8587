//! What somebody with a real token can do who is no friend: a taken node's agent, a user with a few rights too many, a user with too few,
//! and a workload that knows it will be dumped. The threat model (docs/threat-model.md) names these tests.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

#[path = "attack/agent.rs"]
mod agent;
#[path = "attack/identity.rs"]
mod identity;
#[path = "attack/rights.rs"]
mod rights;
#[path = "attack/user.rs"]
mod user;
#[path = "attack/workload.rs"]
mod workload;
