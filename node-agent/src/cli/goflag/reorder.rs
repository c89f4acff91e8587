//! urfave/cli's sorting of a command's arguments: its flags are moved before everything else.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use super::Flag;

/// Mirrors `reorderArgs` of urfave/cli v1.22.17: whatever follows a known flag without `=` moves
/// with it, also behind a switch that takes no value, and nothing after `--` moves.
pub(crate) fn reorder(flags: &[Flag], args: &[OsString]) -> Vec<OsString> {
    let (mut moved, mut left) = (Vec::new(), Vec::new());
    let mut value_may_follow = false;
    for (at, arg) in args.iter().enumerate() {
        let known = is_flag(flags, arg.as_bytes());
        if value_may_follow && !known {
            value_may_follow = false;
            moved.push(arg.clone());
        } else if arg == "--" {
            left.insert(0, arg.clone());
            left.extend(args[at + 1..].iter().cloned());
            break;
        } else if known {
            value_may_follow = !arg.as_bytes().contains(&b'=');
            moved.push(arg.clone());
        } else {
            left.push(arg.clone());
        }
    }
    moved.extend(left);
    moved
}

/// Mirrors `argIsFlag`: up to three dashes before the name of one of the flags.
fn is_flag(flags: &[Flag], arg: &[u8]) -> bool {
    if matches!(arg, b"-" | b"--") || !arg.starts_with(b"-") {
        return false;
    }
    let name = arg.split(|byte| *byte == b'=').next().unwrap_or_default();
    // `--name` loses its first two dashes wherever they are, then one more that leads.
    let name = if name.starts_with(b"--") {
        &name[2..]
    } else {
        name
    };
    let name = name.strip_prefix(b"-").unwrap_or(name);
    flags
        .iter()
        .flat_map(|flag| flag.names)
        .any(|known| known.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::goflag::Kind;

    fn sorted(args: &str) -> String {
        let flag = |names, kind| Flag {
            names,
            kind,
            usage: "",
        };
        let flags = [
            flag(&["leave-running"], Kind::Bool),
            flag(&["image-path"], Kind::List),
            flag(&["help", "h"], Kind::Bool),
        ];
        let args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        let sorted: Vec<_> = reorder(&flags, &args)
            .into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect();
        sorted.join(" ")
    }

    #[test]
    fn moves_flags_and_what_follows_them_before_the_rest() {
        for (given, want) in [
            ("id --leave-running", "--leave-running id"),
            ("id --image-path x", "--image-path x id"),
            ("id --image-path=x y", "--image-path=x id y"),
            // A switch takes the next argument along too.
            ("a --leave-running b", "--leave-running b a"),
            ("id ---image-path x", "---image-path x id"),
            ("id --unknown x", "id --unknown x"),
            ("id -h", "-h id"),
            ("a -- --leave-running", "-- a --leave-running"),
            ("--image-path -- id", "--image-path -- id"),
            ("a - --image-path x", "--image-path x a -"),
            (
                "--image-path --leave-running id",
                "--image-path --leave-running id",
            ),
        ] {
            assert_eq!(sorted(given), want, "{given}");
        }
    }
}
