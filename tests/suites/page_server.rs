//! Memory that goes to another node: by address, to a receiver that somebody starts there; whatever goes wrong on the way.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "what goes wrong in a test ends it, with an explanation"
)]

#[path = "page_server/by_hand.rs"]
mod by_hand;
#[path = "page_server/faults.rs"]
mod faults;
#[path = "page_server/receivers.rs"]
mod receivers;
#[path = "page_server/stage.rs"]
mod stage;
