//! Whether a container is the one that an object names.

use crate::runtime::Container;

/// The container that an object names.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The pod's UID as the runtime knows it.
    pub sandbox_uid: &'a str,
    /// The container's name.
    pub container: &'a str,
}

/// It is not.
#[derive(Debug, thiserror::Error)]
#[error("the runtime knows the container under another {0}")]
pub struct Error(&'static str);

impl Error {
    /// A stable name.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "IdentityMismatch"
    }
}

/// Compares the container's own annotations with what is expected.
///
/// # Errors
/// The first that differs.
pub fn check(container: &Container, expected: &Expected<'_>) -> Result<(), Error> {
    let pairs = [
        ("io.kubernetes.cri.sandbox-namespace", expected.namespace),
        ("io.kubernetes.cri.sandbox-name", expected.pod),
        ("io.kubernetes.cri.sandbox-uid", expected.sandbox_uid),
        ("io.kubernetes.cri.container-name", expected.container),
    ];
    for (key, wanted) in pairs {
        if container.annotation(key) != Some(wanted) {
            return Err(Error(key));
        }
    }
    Ok(())
}
