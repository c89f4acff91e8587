//! The flags of `checkpoint`: runc's seventeen in runc's order and words, then ours.

use std::ffi::OsString;

use crate::{
    checkpoint::NetworkLock,
    cli::{
        goflag::{Flag, Kind},
        golang::number::{parse_bound, parse_bytes},
    },
};

/// One line on the verb.
pub(crate) const USAGE: &str = "checkpoint a running container";
/// Its argument.
pub(crate) const ARGUMENTS: &str = "<container-id>\n\n\
    Where \"<container-id>\" is the name for the instance of the container to be\ncheckpointed.";
/// What it does.
pub(crate) const DESCRIPTION: &str =
    "The checkpoint command saves the state of the container instance.";

/// All flags but `--help`.
pub(crate) fn flags() -> Vec<Flag> {
    runc_flags().into_iter().chain(own_flags()).collect()
}

fn text(name: &'static [&'static str], usage: &'static str) -> Flag {
    Flag {
        names: name,
        kind: Kind::Text(OsString::new()),
        usage,
    }
}

fn switch(name: &'static [&'static str], usage: &'static str) -> Flag {
    Flag {
        names: name,
        kind: Kind::Bool,
        usage,
    }
}

/// `checkpointCommand.Flags` of runc 1.5.2.
fn runc_flags() -> Vec<Flag> {
    vec![
        text(&["image-path"], "path for saving criu image files"),
        text(&["work-path"], "path for saving work files and logs"),
        text(
            &["parent-path"],
            "path for previous criu image files in pre-dump",
        ),
        switch(
            &["leave-running"],
            "leave the process running after checkpointing",
        ),
        switch(&["tcp-established"], "allow open tcp connections"),
        switch(&["tcp-skip-in-flight"], "skip in-flight tcp connections"),
        switch(
            &["link-remap"],
            "allow one to link unlinked files back when possible",
        ),
        switch(&["ext-unix-sk"], "allow external unix sockets"),
        switch(&["shell-job"], "allow shell jobs"),
        switch(
            &["lazy-pages"],
            "use userfaultfd to lazily restore memory pages",
        ),
        Flag {
            names: &["status-fd"],
            kind: Kind::Int(-1),
            usage: "criu writes \\0 to this FD once lazy-pages is ready",
        },
        text(&["page-server"], "ADDRESS:PORT of the page server"),
        switch(&["file-locks"], "handle file locks, for safety"),
        switch(
            &["pre-dump"],
            "dump container's memory information only, leave the container running after this",
        ),
        text(
            &["manage-cgroups-mode"],
            "cgroups mode: soft|full|strict|ignore (default: soft)",
        ),
        Flag {
            names: &["empty-ns"],
            kind: Kind::List,
            usage: "create a namespace, but don't restore its properties",
        },
        switch(
            &["auto-dedup"],
            "enable auto deduplication of memory images",
        ),
    ]
}

/// What runc does not have. Wrong values are refused like runc's own flags refuse theirs, before
/// anything is looked at.
fn own_flags() -> Vec<Flag> {
    let checked = |names, check, usage| Flag {
        names,
        kind: Kind::Checked(check),
        usage,
    };
    vec![
        checked(
            &["network-lock"],
            |text| match text.parse::<NetworkLock>() {
                Ok(_) => Ok(()),
                Err(_) => Err("use auto, iptables, nftables or skip".to_owned()),
            },
            "how the network is held still: auto|iptables|nftables|skip (default: auto)",
        ),
        checked(
            &["ghost-limit"],
            |text| {
                parse_bytes(text)
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            },
            "BYTES of the largest deleted but open file to save, also as 64K or 1Mi (default: 1Mi)",
        ),
        checked(
            &["timeout"],
            |text| {
                parse_bound(text)
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            },
            "bound on the whole checkpoint, as 30s or in seconds; the container then goes on",
        ),
        checked(
            &["output"],
            |text| match text {
                "text" | "json" => Ok(()),
                _ => Err("use text or json".to_owned()),
            },
            "what to print on stdout: text (nothing) or json, also of a failure (default: text)",
        ),
        switch(&["progress"], "show the current step, on a terminal only"),
        switch(
            &["durable"],
            "flush the image to disk and compute its digest",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_seventeen_flags_of_runc_and_six_of_ours() {
        assert_eq!((runc_flags().len(), own_flags().len()), (17, 6));
        let names: std::collections::BTreeSet<_> =
            flags().into_iter().flat_map(|flag| flag.names).collect();
        assert_eq!(names.len(), 23);
    }
}
