//! Receivers: each is given to a node, bounded, and let go once what it received is gone.
//!
//! `plan` decides, [`reconcile`] looks, decides and writes, `watches` follows the objects.

mod plan;
mod reconcile;
mod watches;

pub use plan::{Act, Candidate, Plan, Standing, plan};
pub use reconcile::{Error, reconcile, retry};
