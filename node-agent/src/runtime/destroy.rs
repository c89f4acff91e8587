//! Ends what is left of a container after a dump has killed it, as `Container.Destroy` of runc does.
