//! Finds a container's state directory from the id that Kubernetes knows.
