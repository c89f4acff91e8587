//! What CRIU and tar find as `sh` in the agent's image: starts the few commands they want of it, and is no shell.
//!
//! CRIU starts some of its network tools as `sh -c "iptables …"`, GNU tar its compressor as `/bin/sh -c gzip`. Neither uses anything of a
//! shell but that it splits the line at its spaces. So no shell is needed in a privileged container, where it serves intruders
//! most.
#![forbid(unsafe_code)]

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

/// The programs that CRIU (`criu/net.c`, `criu/netfilter.c`, `criu/kerndat.c`) and tar start this way.
const PROGRAMS: [&str; 5] = [
    "iptables",
    "ip6tables",
    "iptables-save",
    "ip6tables-save",
    "gzip",
];

/// The exit code of a command that was not understood or could not be started, as shells have it.
const NOT_STARTED: u8 = 126;

/// Why nothing was started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Error {
    #[error("this is no shell: it takes -c and one command")]
    NotACommand,
    #[error("this is no shell: it starts {}, and nothing else", PROGRAMS.join(", "))]
    UnknownProgram,
    #[error("this is no shell: it only knows words and spaces, not {0:?}")]
    NotAWord(char),
}

/// The words of the one command that the arguments hold.
fn words(arguments: &[OsString]) -> Result<Vec<&str>, Error> {
    let [flag, line] = arguments else {
        return Err(Error::NotACommand);
    };
    let (Some("-c"), Some(line)) = (flag.to_str(), line.to_str()) else {
        return Err(Error::NotACommand);
    };
    // `!` is a word of its own in CRIU's rules, where a shell leaves it alone too.
    let plain = |c: char| c.is_ascii_alphanumeric() || " !-./:_".contains(c);
    if let Some(other) = line.chars().find(|&c| !plain(c)) {
        return Err(Error::NotAWord(other));
    }
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    match words.first() {
        Some(program) if PROGRAMS.contains(program) => Ok(words),
        _ => Err(Error::UnknownProgram),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let why = match words(&arguments) {
        Ok(words) => {
            let failure = Command::new(words[0]).args(&words[1..]).exec();
            format!("failed to start {}: {failure}", words[0])
        }
        Err(error) => error.to_string(),
    };
    eprintln!("sh: {why}");
    ExitCode::from(NOT_STARTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Result<Vec<String>, Error> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        words(&arguments).map(|words| words.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn what_criu_and_tar_ask_for_is_split_at_its_spaces() {
        assert_eq!(asked(&["-c", "gzip"]), Ok(vec!["gzip".to_owned()]));
        let lock = "iptables  -t filter -I INPUT --protocol tcp -m mark ! --mark 0xC114 --source 10.90.0.2 --sport 80 -j DROP";
        let words = asked(&["-c", lock]).unwrap();
        assert_eq!(words[..3], ["iptables", "-t", "filter"]);
        assert_eq!(words.len(), 18);
        assert!(
            asked(&[
                "-c",
                "ip6tables -w -D OUTPUT --source fd00::1 --sport 80 -j DROP"
            ])
            .is_ok()
        );
    }

    #[test]
    fn nothing_else_is_started() {
        for line in ["", " ", "id", "/usr/sbin/iptables -L", "sh", "-i"] {
            assert_eq!(asked(&["-c", line]), Err(Error::UnknownProgram), "{line}");
        }
        for line in [
            "gzip; id",
            "gzip $(id)",
            "gzip\nid",
            "gzip >x",
            "gzip `id`",
            "gzip 'a'",
            "gzip *",
            "gzip | id",
            "gzip &",
        ] {
            assert!(
                matches!(asked(&["-c", line]), Err(Error::NotAWord(_))),
                "{line}"
            );
        }
        for arguments in [
            &[][..],
            &["-i"],
            &["-c"],
            &["script"],
            &["-c", "gzip", "more"],
            &["-ic", "gzip"],
        ] {
            assert_eq!(asked(arguments), Err(Error::NotACommand), "{arguments:?}");
        }
    }
}
