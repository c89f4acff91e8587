//! Which processes are in a container, and which containers share a network namespace.
