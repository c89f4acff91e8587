//! The agent: what it does with the objects of its node.

pub mod failure;
