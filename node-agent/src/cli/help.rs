//! Help in the form that urfave/cli gives it: the same headings, columns and blank lines.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt};

use super::{
    goflag::{Flag, Kind},
    golang::quote::quote,
};

/// A command as help shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Its names; help joins them.
    pub(crate) names: &'static [&'static str],
    /// One line on what it does.
    pub(crate) usage: &'static str,
}

/// What `help` shows of the program (`AppHelpTemplate`).
pub(crate) struct Program<'a> {
    /// The program's own name.
    pub(crate) name: &'a str,
    /// What it is, in any number of lines.
    pub(crate) usage: &'a str,
    /// The name it was started by.
    pub(crate) started_as: &'a str,
    /// Its version.
    pub(crate) version: &'a str,
    /// Its commands.
    pub(crate) commands: &'a [Entry],
    /// Its global flags.
    pub(crate) flags: &'a [Flag],
}

impl Program<'_> {
    /// The text of `help` and of a refused global flag.
    pub(crate) fn help(&self) -> String {
        let Self {
            name,
            usage,
            started_as,
            version,
            commands,
            flags,
        } = self;
        let rows = commands
            .iter()
            .map(|entry| (entry.names.join(", "), entry.usage.to_owned()));
        let commands = columns(&rows.collect::<Vec<_>>());
        let flags = columns(&flags.iter().map(row).collect::<Vec<_>>());
        format!(
            "NAME:\n   {name} - {usage}\n\nUSAGE:\n   {started_as} [global options] command \
             [command options] [arguments...]\n\nVERSION:\n   {version}\n\nCOMMANDS:\n{commands}\n\
             GLOBAL OPTIONS:\n{flags}"
        )
    }
}

/// What `help COMMAND` shows (`CommandHelpTemplate`).
pub(crate) struct Command<'a> {
    /// The command behind the name the program was started by.
    pub(crate) full_name: &'a str,
    /// One line on what it does.
    pub(crate) usage: &'a str,
    /// Its arguments.
    pub(crate) arguments: &'a str,
    /// More on what it does; no heading when empty.
    pub(crate) description: &'a str,
    /// Its flags; no heading when there are none.
    pub(crate) flags: &'a [Flag],
}

impl Command<'_> {
    /// The text of `COMMAND --help` and of a refused flag.
    pub(crate) fn help(&self) -> String {
        let Self {
            full_name,
            usage,
            arguments,
            description,
            flags,
        } = self;
        let options = if flags.is_empty() {
            ""
        } else {
            " [command options]"
        };
        let mut text = format!(
            "NAME:\n   {full_name} - {usage}\n\nUSAGE:\n   {full_name}{options} {arguments}"
        );
        if !description.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n\nDESCRIPTION:\n   {description}");
        }
        if flags.is_empty() {
            text.push('\n');
        } else {
            let rows = columns(&flags.iter().map(row).collect::<Vec<_>>());
            let _ = write!(text, "\n\nOPTIONS:\n{rows}   \n");
        }
        text
    }
}

/// `stringifyFlag`: the names with what they take, and the usage with the default.
fn row(flag: &Flag) -> (String, String) {
    let value = if matches!(flag.kind, Kind::Bool) {
        ""
    } else {
        " value"
    };
    let names: Vec<String> = flag
        .names
        .iter()
        .map(|name| format!("{}{name}{value}", if name.len() == 1 { "-" } else { "--" }))
        .collect();
    let default = match &flag.kind {
        Kind::Int(default) => format!(" (default: {default})"),
        Kind::Text(default) if !default.is_empty() => {
            format!(" (default: {})", quote(default.as_bytes()))
        }
        Kind::Bool | Kind::Text(_) | Kind::List | Kind::Checked(_) => String::new(),
    };
    (names.join(", "), format!("{}{default}", flag.usage))
}

/// Go's `text/tabwriter` as urfave/cli sets it up: the first column is as wide as its widest cell
/// and two blanks.
fn columns(rows: &[(String, String)]) -> String {
    let width = rows
        .iter()
        .map(|(left, _)| left.chars().count())
        .max()
        .unwrap_or(0)
        + 2;
    rows.iter().fold(String::new(), |mut text, (left, right)| {
        let _ = writeln!(text, "   {left:width$}{right}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_a_command_as_urfave_does() {
        let flag = |names, kind, usage| Flag { names, kind, usage };
        let command = Command {
            full_name: "p save",
            usage: "saves",
            arguments: "<id>",
            description: "It saves.",
            flags: &[
                flag(&["to"], Kind::Text("".into()), "where"),
                flag(&["status-fd"], Kind::Int(-1), "tell"),
                flag(&["go-on"], Kind::Bool, "continue"),
                flag(&["form"], Kind::Text("text".into()), "how"),
                flag(&["help", "h"], Kind::Bool, "show help"),
            ],
        };
        assert_eq!(
            command.help(),
            "NAME:\n   p save - saves\n\nUSAGE:\n   p save [command options] <id>\n\n\
             DESCRIPTION:\n   It saves.\n\nOPTIONS:\n   --to value         where\n   \
             --status-fd value  tell (default: -1)\n   --go-on            continue\n   \
             --form value       how (default: \"text\")\n   --help, -h         show help\n   \n"
        );
    }

    #[test]
    fn leaves_out_what_a_command_does_not_have() {
        let command = Command {
            full_name: "",
            usage: "helps",
            arguments: "[command]",
            description: "",
            flags: &[],
        };
        assert_eq!(
            command.help(),
            "NAME:\n    - helps\n\nUSAGE:\n    [command]\n"
        );
    }

    #[test]
    fn lays_out_the_program_as_urfave_does() {
        let program = Program {
            name: "p",
            usage: "a program",
            started_as: "./p",
            version: "1",
            commands: &[
                Entry {
                    names: &["save"],
                    usage: "saves",
                },
                Entry {
                    names: &["help", "h"],
                    usage: "helps",
                },
            ],
            flags: &[Flag {
                names: &["help", "h"],
                kind: Kind::Bool,
                usage: "show help",
            }],
        };
        assert_eq!(
            program.help(),
            "NAME:\n   p - a program\n\nUSAGE:\n   ./p [global options] command [command options] \
             [arguments...]\n\nVERSION:\n   1\n\nCOMMANDS:\n   save     saves\n   help, h  helps\n\n\
             GLOBAL OPTIONS:\n   --help, -h  show help\n"
        );
    }
}
