//! The agent's controller: what it stands on.

pub mod disk;
pub mod identity;
pub mod lease;
#[cfg(test)]
mod mocked;
pub mod node;
pub mod place;
