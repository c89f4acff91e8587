//! Which program takes a checkpoint.

use std::env;

use crate::node::Node;

/// A program with runc's `checkpoint` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The real runc.
    Runc,
    /// crun, which reads its own state only.
    Crun,
    /// Our own command.
    Ours,
}

impl Program {
    /// The program that `STILLFRAME_CHECKPOINT` names (`ours`, `runc` or `crun`), by default ours.
    #[must_use]
    pub fn from_env() -> Self {
        match env::var("STILLFRAME_CHECKPOINT").as_deref() {
            Err(_) | Ok("ours") => Self::Ours,
            Ok("runc") => Self::Runc,
            Ok("crun") => Self::Crun,
            Ok(other) => {
                panic!("STILLFRAME_CHECKPOINT is `{other}`; it must be ours, runc or crun")
            }
        }
    }

    /// The command's name in the node; ours is brought there first.
    #[must_use]
    pub fn command(self, node: &Node) -> String {
        match self {
            Self::Runc => "runc".to_owned(),
            Self::Crun => "crun".to_owned(),
            Self::Ours => {
                node.install("stillframe-archiver");
                node.install("stillframe-node-agent")
            }
        }
    }
}
