//! How the agent ends: no new work, then a grace period, then roll back, then leave.

use std::{future::pending, pin::Pin, time::Duration};

use tokio::sync::watch;
use tracing::info;

/// How long what was rolled back may take to be reported.
const REPORT_WITHIN: Duration = Duration::from_secs(10);

/// What the loop is to do next on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Take no new work.
    Drain,
    /// Roll back what still runs.
    CallOff,
    /// Go.
    Leave,
}

/// The way out.
pub struct Stop {
    told: Pin<Box<dyn Future<Output = ()> + Send>>,
    grace: Duration,
    draining: watch::Sender<bool>,
    last: Option<Phase>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Stop")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Stop {
    /// Begins once `told` is done. Who waits for work is told by the receiver.
    pub fn new(
        told: impl Future<Output = ()> + Send + 'static,
        grace: Duration,
    ) -> (Self, watch::Receiver<bool>) {
        let (draining, drains) = watch::channel(false);
        let stop = Self {
            told: Box::pin(told),
            grace,
            draining,
            last: None,
        };
        (stop, drains)
    }

    /// The next phase, when it is time for it.
    ///
    /// # Cancel safety
    /// Dropped and asked again, nothing is lost: a wait that has begun goes on.
    pub async fn next(&mut self) -> Phase {
        self.told.as_mut().await;
        let (phase, then) = match self.last {
            None => (Phase::Drain, Some(self.grace)),
            Some(Phase::Drain) => (Phase::CallOff, Some(REPORT_WITHIN)),
            Some(Phase::CallOff | Phase::Leave) => (Phase::Leave, None),
        };
        info!(?phase, "ends");
        self.draining.send_replace(true);
        self.last = Some(phase);
        self.told = match then {
            Some(wait) => Box::pin(tokio::time::sleep(wait)),
            None => Box::pin(pending()),
        };
        phase
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_way_out_has_three_steps_in_order() {
        let (mut stop, draining) = Stop::new(std::future::ready(()), Duration::ZERO);
        assert!(!*draining.borrow());
        assert_eq!(stop.next().await, Phase::Drain);
        assert!(*draining.borrow());
        assert_eq!(stop.next().await, Phase::CallOff);
    }
}
