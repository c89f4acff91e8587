//! Names that the operator and the agent have to agree on.

/// Keeps an object until its image is gone, or is to stay. Set and dropped by the operator alone.
pub const FINALIZER: &str = "stillframe.dev/image";

/// Field manager, event source and leader of the operator.
pub const OPERATOR: &str = "stillframe-operator";

/// Field manager and event source of the node agent.
pub const NODE_AGENT: &str = "stillframe-node-agent";

/// What the image directories of one namespace may not be called: the agent keeps its own files
/// beside an image under these endings.
pub const RESERVED_ENDINGS: [&str; 3] = [".partial", ".work", ".owner"];

/// The name of the Lease that tells that a node's agent is alive.
#[must_use]
pub fn lease_of(node: &str) -> String {
    format!("stillframe-node-{node}")
}

/// The image directory of a checkpoint that names none: its object's name and UID, so that an
/// object of the same name made later never meets it.
#[must_use]
pub fn default_image_path(name: &str, uid: &str) -> String {
    format!("{name}-{uid}")
}
