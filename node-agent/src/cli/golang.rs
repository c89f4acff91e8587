//! Go's own rules for text, numbers, paths and errors, which runc's command line is made of.

pub(crate) mod address;
pub(crate) mod fs;
pub(crate) mod number;
pub(crate) mod path;
pub(crate) mod quote;
