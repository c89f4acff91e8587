//! The pages of help.

use super::{NAME, Names};
use crate::cli::{checkpoint, goflag::Flag, help};

const USAGE: &str = "checkpoints a container on this node\n\n\
    The checkpoint command takes the flags of `runc checkpoint` and can stand in its place in\n\
    scripts; `runc restore` restores what it writes.";
const COMMANDS: &[help::Entry] = &[
    help::Entry {
        names: &["checkpoint"],
        usage: checkpoint::USAGE,
    },
    help::Entry {
        names: &["page-server"],
        usage: "receive the memory of a checkpoint that another node makes",
    },
    help::Entry {
        names: &["preflight"],
        usage: "show what this node can do",
    },
    help::Entry {
        names: &["run"],
        usage: "checkpoint this node's containers as objects in its cluster ask",
    },
    help::Entry {
        names: &["help", "h"],
        usage: HELP_USAGE,
    },
];
const HELP_USAGE: &str = "Shows a list of commands or help for one command";

/// The help of the program.
pub(super) fn program_help(names: &Names, flags: &[Flag]) -> String {
    help::Program {
        name: NAME,
        usage: USAGE,
        started_as: &names.base,
        version: env!("CARGO_PKG_VERSION"),
        commands: COMMANDS,
        flags,
    }
    .help()
}

/// The help of `checkpoint`, which also follows a wrong number of arguments.
pub(crate) fn checkpoint_help(names: &Names) -> String {
    help::Command {
        full_name: &format!("{} checkpoint", names.base),
        usage: checkpoint::USAGE,
        arguments: checkpoint::ARGUMENTS,
        description: checkpoint::DESCRIPTION,
        flags: &checkpoint::flags(),
    }
    .help()
}

/// The help of `help`.
pub(super) fn help_of_help() -> String {
    // The command is added after the others got their full names: it has none.
    help::Command {
        full_name: "",
        usage: HELP_USAGE,
        arguments: "[command]",
        description: "",
        flags: &[],
    }
    .help()
}
