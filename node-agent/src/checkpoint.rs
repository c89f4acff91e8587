//! The verb: everything that happens between "checkpoint this container" and a complete image.
