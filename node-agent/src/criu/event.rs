//! The steps of a dump that CRIU announces, and what may be answered.

use std::time::Instant;

/// A notification of CRIU's. It waits for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing has been touched yet.
    PreDump,
    /// All tasks are stopped; sent only when their network namespace is not CRIU's own.
    NetworkLock,
    /// The answer may name more things that are not part of the image.
    QueryExtFiles,
    /// Everything is written; tasks are still stopped. The last chance to say no.
    PostDump,
    /// Tasks are about to go on, also after a failure. CRIU does not look at the answer.
    NetworkUnlock,
    /// Lazy pages can be fetched.
    StatusReady,
    /// A step this client does not know.
    Other(String),
}

impl Event {
    /// The event of CRIU's script name (`action_names` in `criu/action-scripts.c`).
    #[must_use]
    pub fn from_script(script: &str) -> Self {
        match script {
            "pre-dump" => Self::PreDump,
            "network-lock" => Self::NetworkLock,
            "query-ext-files" => Self::QueryExtFiles,
            "post-dump" => Self::PostDump,
            "network-unlock" => Self::NetworkUnlock,
            "status-ready" => Self::StatusReady,
            other => Self::Other(other.to_owned()),
        }
    }

    /// CRIU's name of the step.
    #[must_use]
    pub fn script(&self) -> &str {
        match self {
            Self::PreDump => "pre-dump",
            Self::NetworkLock => "network-lock",
            Self::QueryExtFiles => "query-ext-files",
            Self::PostDump => "post-dump",
            Self::NetworkUnlock => "network-unlock",
            Self::StatusReady => "status-ready",
            Self::Other(script) => script,
        }
    }

    /// Whether a no is heeded: CRIU ignores it once it is letting tasks go.
    #[must_use]
    pub fn can_refuse(&self) -> bool {
        !matches!(self, Self::NetworkUnlock)
    }
}

/// What a [`Handler`] makes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Go,
    /// Go on, and take these for external; only [`Event::QueryExtFiles`] carries them to CRIU.
    GoWith(Vec<String>),
    /// Stop and roll back: tasks go on, nothing is left locked.
    Refuse,
}

/// Answers CRIU's notifications.
pub trait Handler {
    /// Called for each event in order. While the conversation is being ended (cancelled, too late,
    /// refused) the answer is no without asking, but [`Event::NetworkUnlock`] still comes here.
    fn on(&mut self, event: &Event) -> Answer;

    /// Called whenever CRIU is waited for: a chance to see what it does not announce. Says when to look again, if nothing comes
    /// before that.
    fn look(&mut self) -> Option<Instant> {
        None
    }

    /// Until when tasks may stand still, once they do. Asked again after every event and every look.
    fn pause_deadline(&self) -> Option<Instant> {
        None
    }

    /// Called as soon as CRIU has answered, with success or not, and before it has exited: tasks
    /// have been let go, or have ended.
    fn responded(&mut self) {}

    /// Called before a CRIU that does not give way is killed: its tasks run from that moment on, as
    /// they are.
    fn about_to_kill(&mut self) {}
}
