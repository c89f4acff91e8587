//! Why `checkpoint` failed, in the words that runc has for it.

use std::io;

use crate::{
    checkpoint::RequestError,
    cli::golang::fs::{PathError, Reason},
};

/// Why `checkpoint` failed. The texts are those of runc 1.5.2, where runc can fail likewise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not exactly one container was named.
    #[error("{program}: \"checkpoint\" requires exactly 1 argument(s)")]
    ArgumentCount {
        /// The program as it was called.
        program: String,
    },
    /// The container's name is empty.
    #[error("container id cannot be empty")]
    EmptyId,
    /// The container is not in a state that can be dumped.
    #[error("Container cannot be checkpointed in {state} state")]
    State {
        /// The state's name.
        state: String,
    },
    /// No image path was given, and the current directory cannot be told.
    #[error("getwd: {}", Reason(.0))]
    CurrentDir(#[source] io::Error),
    /// The image directory could not be made.
    #[error(transparent)]
    ImagePath(PathError),
    /// The parent was given by an absolute path.
    #[error("--parent-path must be relative")]
    ParentAbsolute,
    /// The parent is no directory that can be seen.
    #[error("invalid --parent-path: {0}")]
    Parent(#[source] PathError),
    /// The page server is not `ADDRESS:PORT`.
    #[error("Use --page-server ADDRESS:PORT to specify page server")]
    PageServerForm,
    /// The page server's port is no number.
    #[error("Invalid port number")]
    PageServerPort,
    /// A namespace that cannot be left empty; its name is quoted.
    #[error("namespace {0} is not supported")]
    EmptyNamespace(String),
    /// A value that names no choice.
    #[error(transparent)]
    Choice(#[from] RequestError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Failure),
}

/// A failure of the engine, as far as a user is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The stable name of the failure.
    pub(crate) reason: &'static str,
    /// The text, runc's where runc has one.
    pub(crate) message: String,
    /// What can be done about it.
    pub(crate) hint: Option<String>,
    /// CRIU's error number.
    pub(crate) criu_errno: Option<i32>,
    /// Lines of CRIU's log around its errors, dressed as runc quotes them.
    pub(crate) quoted: Vec<String>,
}

impl Error {
    /// A stable name for scripts.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::ArgumentCount { .. } => "WrongArgumentCount",
            Self::EmptyId => "InvalidContainerId",
            Self::State { .. } => "ContainerNotRunning",
            Self::CurrentDir(_) => "NoCurrentDirectory",
            Self::ImagePath(_) => "ImagePathUnusable",
            Self::ParentAbsolute | Self::Parent(_) => "InvalidParentPath",
            Self::PageServerForm | Self::PageServerPort => "InvalidPageServer",
            Self::EmptyNamespace(_) => "InvalidEmptyNamespace",
            Self::Choice(RequestError::CgroupsMode) => "InvalidCgroupsMode",
            Self::Choice(RequestError::NetworkLock(_)) => "InvalidNetworkLock",
            Self::Engine(failure) => failure.reason,
        }
    }

    /// What the user can do.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::ArgumentCount { .. } | Self::EmptyId => Some("name one container"),
            Self::State { state } if state == "created" => Some("start the container first"),
            Self::State { .. } => Some("only a running or paused container can be checkpointed"),
            Self::CurrentDir(_) => Some("give --image-path"),
            Self::ImagePath(_) => Some("--image-path must be, or become, a directory"),
            Self::ParentAbsolute | Self::Parent(_) => {
                Some("--parent-path is taken from inside --image-path, as in ../parent")
            }
            Self::PageServerForm | Self::PageServerPort => {
                Some("write an IPv6 address in brackets, and the port as a decimal number")
            }
            Self::EmptyNamespace(_) => Some("only network can be left empty"),
            Self::Choice(_) => Some("see --help for the choices"),
            Self::Engine(failure) => failure.hint.as_deref(),
        }
    }

    /// The lines of CRIU's log that go before the error.
    pub(crate) fn quoted(&self) -> &[String] {
        match self {
            Self::Engine(failure) => &failure.quoted,
            Self::ArgumentCount { .. }
            | Self::EmptyId
            | Self::State { .. }
            | Self::CurrentDir(_)
            | Self::ImagePath(_)
            | Self::ParentAbsolute
            | Self::Parent(_)
            | Self::PageServerForm
            | Self::PageServerPort
            | Self::EmptyNamespace(_)
            | Self::Choice(_) => &[],
        }
    }

    /// CRIU's error number, where CRIU failed.
    pub(crate) fn criu_errno(&self) -> Option<i32> {
        match self {
            Self::Engine(failure) => failure.criu_errno,
            _ => None,
        }
    }
}
