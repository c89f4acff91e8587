//! What a container runtime left on disk about a container, read as hostile input.
