//! CRIU's configuration files: what they say, and which of it the agent takes over.
//!
//! The command hands such a file to CRIU as runc does. The agent never does: a configuration file
//! overrides the request and can name scripts and libraries to run. It takes the [`Allowed`]
//! options and refuses the others by name.

mod allowed;
mod file;
mod statement;

use std::path::PathBuf;

use nix::errno::Errno;

pub use allowed::{Allowed, CgroupsMode, LockMethod};
use statement::{Entry, parse_statement};

/// The options of one configuration file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// Name without its dashes, and the value where there is one.
    pub options: Vec<(String, Option<String>)>,
}

/// A configuration file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line that CRIU would not understand.
    #[error("failed to parse line {line} of the CRIU configuration: {problem}")]
    Syntax {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An option that the agent does not take from a file.
    #[error("CRIU option {name:?} may not be set by a configuration file")]
    NotAllowed {
        /// Its name.
        name: String,
    },
    /// A value that the option does not have.
    #[error("invalid value {value:?} of CRIU option {name:?}")]
    Value {
        /// The option.
        name: String,
        /// The value; empty when it is missing.
        value: String,
    },
    /// The file is not where such files may be.
    #[error("CRIU configuration {} is not beneath {}", path.display(), root.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// Where it has to be.
        root: PathBuf,
    },
    /// The file is not safe to obey.
    #[error("CRIU configuration {} {problem}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// The file cannot be read.
    #[error("failed to read CRIU configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
}

impl Error {
    /// A stable name for the class of failure.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "CriuConfigMalformed",
            Self::NotAllowed { .. } => "CriuOptionNotAllowed",
            Self::Value { .. } => "CriuOptionInvalid",
            Self::Outside { .. } | Self::Untrusted { .. } => "CriuConfigUntrusted",
            Self::Read { .. } => "CriuConfigUnreadable",
        }
    }
}

/// What a file says about one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Set, without a value.
    On,
    /// Switched off (`no-NAME`).
    Off,
    /// Set to this.
    Value(String),
}

impl Site {
    /// Reads a file's text. Mirrors `parse_statement` of `criu/config.c` (v4.2): one option to a
    /// line without its dashes, a value after a blank, in quotes if need be, `#` starts a comment.
    ///
    /// # Errors
    /// [`Error::Syntax`] where CRIU would refuse the file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut options = Vec::new();
        for (index, line) in text.split('\n').enumerate() {
            match parse_statement(line) {
                Ok(Some(Entry { name, value })) => options.push((name, value)),
                Ok(None) => {}
                Err(problem) => {
                    return Err(Error::Syntax {
                        line: index + 1,
                        problem,
                    });
                }
            }
        }
        Ok(Self { options })
    }

    /// What is taken over into a request.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for the first option that is not on the list, [`Error::Value`] for a
    /// value that makes no sense.
    pub fn allowed(&self) -> Result<Allowed, Error> {
        allowed::from_options(&self.options)
    }
}

/// What a file's text says about an option; the last mention counts. Lenient: lines that make no
/// sense are passed over, and an abbreviated name counts, since CRIU's `getopt_long` takes it.
#[must_use]
pub fn says(text: &str, name: &str) -> Option<Says> {
    text.split('\n')
        .filter_map(|line| parse_statement(line).ok().flatten())
        .filter_map(|entry| {
            let (written, value) = split_value(&entry.name, entry.value.as_deref());
            if is_short_for(written, name) {
                return Some(value.map_or(Says::On, |value| Says::Value(value.to_owned())));
            }
            let negated = written.strip_prefix("no-")?;
            is_short_for(negated, name).then_some(Says::Off)
        })
        .next_back()
}

fn is_short_for(written: &str, name: &str) -> bool {
    !written.is_empty() && name.starts_with(written)
}

/// `name=value` is one word to the configuration file and two to `getopt_long`.
fn split_value<'a>(name: &'a str, value: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(text: &str) -> Vec<(String, Option<String>)> {
        Site::parse(text).unwrap().options
    }

    fn pair(name: &str, value: Option<&str>) -> (String, Option<String>) {
        (name.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn a_file_of_every_form_is_read_as_criu_reads_it() {
        let text = "# a comment\n\n  tcp-established\nverbosity 4 # loud\n\
                    lsm-profile \"selinux:a b\"\nghost-limit\t10M\n\nexternal \"\"\n";
        assert_eq!(
            options(text),
            [
                pair("tcp-established", None),
                pair("verbosity", Some("4")),
                pair("lsm-profile", Some("selinux:a b")),
                pair("ghost-limit", Some("10M")),
                pair("external", Some("")),
            ]
        );
    }

    #[test]
    fn escaped_quotes_lose_their_backslash() {
        assert_eq!(
            options(r#"external "a \" b""#),
            [pair("external", Some("a \" b"))]
        );
    }

    #[test]
    fn what_criu_refuses_is_refused_with_its_line() {
        for text in ["a\nb \"c", "a\nb c d", "a\nb \"", "a\nb \"c\" d"] {
            let error = Site::parse(text).unwrap_err();
            assert!(
                matches!(error, Error::Syntax { line: 2, .. }),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn the_last_mention_of_an_option_counts() {
        assert_eq!(
            says("tcp-close\nno-tcp-close\n", "tcp-close"),
            Some(Says::Off)
        );
        assert_eq!(
            says("no-tcp-close\ntcp-close\n", "tcp-close"),
            Some(Says::On)
        );
        assert_eq!(says("file-locks\n", "tcp-close"), None);
    }

    #[test]
    fn abbreviations_and_equal_signs_count_as_for_getopt() {
        assert_eq!(says("tcp-est\n", "tcp-established"), Some(Says::On));
        assert_eq!(
            says("network-lock=skip", "network-lock"),
            Some(Says::Value("skip".to_owned()))
        );
        assert_eq!(
            says("bad \"\nnetwork-lock nftables # x", "network-lock"),
            Some(Says::Value("nftables".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(site) = Site::parse(&text) {
                let _ = site.allowed();
            }
            let _ = says(&text, "tcp-established");
        }

        #[test]
        fn any_line_of_the_grammar_s_letters_is_parsed_without_panic(text in "[ab \t\"\\\\#=\n-]{0,60}") {
            let _ = Site::parse(&text).map(|site| site.allowed());
        }
    }
}
