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

/// The start of an object's name that fits into an event's beside its time.
const EVENT_NAME_LIMIT: usize = 200;

/// The name of an event about an object of that name: together with the time no longer than names may be.
#[must_use]
pub fn event_name(about: &str, now: jiff::Timestamp) -> String {
    let start = crate::condition::cut(about, EVENT_NAME_LIMIT).trim_end_matches(['.', '-']);
    format!("{start}.{:x}", now.as_nanosecond())
}

/// The name of the Lease that tells that a node's agent is alive.
#[must_use]
pub fn lease_of(node: &str) -> String {
    format!("stillframe-node-{node}")
}

/// Longest start of an object's name in a directory's name: with a UID behind it and one of the
/// agent's endings, it fits into what file systems take.
const NAME_IN_PATH: usize = 160;

/// The image directory of a checkpoint that names none: its object's name, cut where it is very
/// long, and its UID, so that an object of the same name made later never meets it.
#[must_use]
pub fn default_image_path(name: &str, uid: &str) -> String {
    format!("{}-{uid}", crate::condition::cut(name, NAME_IN_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_leaves_room_for_the_uid() {
        let uid = "0".repeat(36);
        assert_eq!(default_image_path("counter", "u"), "counter-u");
        assert_eq!(default_image_path(&"x".repeat(253), &uid).len(), 197);
    }
}
