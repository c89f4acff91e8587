//! Pods of every kind that people have, checkpointed through the API on a real kubelet, and pods that are refused.

#![expect(
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

#[path = "mission_pods/ends.rs"]
mod ends;
#[path = "mission_pods/fetched.rs"]
mod fetched;
#[path = "mission_pods/forged.rs"]
mod forged;
#[path = "mission_pods/journey.rs"]
mod journey;
#[path = "mission_pods/refused.rs"]
mod refused;
#[path = "mission_pods/shapes.rs"]
mod shapes;
