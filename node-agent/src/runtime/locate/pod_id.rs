//! The id of a container as a pod's status shows it.

use std::{fmt, str::FromStr};

use crate::runtime::{ContainerId, locate::Error};

/// Who runs the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// containerd's CRI plugin.
    Containerd,
    /// CRI-O.
    Crio,
}

/// `status.containerStatuses[].containerID` of a pod: `containerd://` or `cri-o://` and 64 hex
/// digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodContainerId {
    engine: Engine,
    id: ContainerId,
}

impl PodContainerId {
    /// Who runs the pod.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The id as the runtime knows it.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }
}

impl FromStr for PodContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || Error::InvalidId(text.to_owned());
        let (engine, digits) = if let Some(digits) = text.strip_prefix("containerd://") {
            (Engine::Containerd, digits)
        } else if let Some(digits) = text.strip_prefix("cri-o://") {
            (Engine::Crio, digits)
        } else {
            return Err(invalid());
        };
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(hex) {
            return Err(invalid());
        }
        Ok(Self {
            engine,
            id: digits.parse().map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for PodContainerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.engine {
            Engine::Containerd => "containerd",
            Engine::Crio => "cri-o",
        };
        write!(out, "{scheme}://{}", self.id)
    }
}
