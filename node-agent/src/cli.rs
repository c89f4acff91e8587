//! The command line: runc's `checkpoint` under its own flags, and the verbs that runc does not have.
