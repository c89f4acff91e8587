//! Flags as Go's `flag` package and urfave/cli v1.22.17 read them, which is what runc 1.5.2 has.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use super::golang::{
    number::{parse_bool, parse_int},
    quote::{plain, quote},
};

mod reorder;

pub(crate) use reorder::reorder;

/// A flag that can be given.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    /// Its names, the first being the one it is asked for by; each can follow `-` or `--`.
    pub(crate) names: &'static [&'static str],
    /// What it takes.
    pub(crate) kind: Kind,
    /// What help says of it.
    pub(crate) usage: &'static str,
}

/// What a flag takes.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Nothing, or `=BOOL`.
    Bool,
    /// A whole number, with this default.
    Int(i64),
    /// Any text, with this default.
    Text(OsString),
    /// Any text, any number of times.
    List,
    /// Text that must pass a check; not set unless given.
    Checked(fn(&str) -> Result<(), String>),
}

/// Why a command line could not be read; the texts are Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    /// Dashes with no name behind them.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    /// A name that no flag has.
    #[error("flag provided but not defined: -{0}")]
    Undefined(String),
    /// A flag at the end that should have a value.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// `--flag=VALUE` where VALUE is no boolean.
    #[error("invalid boolean value {value} for -{name}: {why}")]
    Bool {
        /// The flag as given.
        name: String,
        /// Its value, quoted.
        value: String,
        /// Go's reason.
        why: String,
    },
    /// A value that the flag does not take.
    #[error("invalid value {value} for flag -{name}: {why}")]
    Value {
        /// The flag as given.
        name: String,
        /// Its value, quoted.
        value: String,
        /// Go's reason.
        why: String,
    },
    /// Two names of one flag in one command line.
    #[error("Cannot use two forms of the same flag: {0} {1}")]
    TwoForms(String, String),
}

/// What a command line said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    values: BTreeMap<&'static str, Value>,
    given: BTreeSet<&'static str>,
    /// What was left after the flags.
    pub(crate) args: Vec<OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Bool(bool),
    Int(i64),
    Text(OsString),
    List(Vec<OsString>),
}

impl Parsed {
    /// Whether the flag was given, with whatever value.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// A switch; false for a name that is none.
    pub(crate) fn bool(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Bool(true)))
    }

    /// A number; zero for a name that has none, as urfave/cli answers.
    pub(crate) fn int(&self, name: &str) -> i64 {
        match self.values.get(name) {
            Some(Value::Int(value)) => *value,
            _ => 0,
        }
    }

    /// A text; empty for a name that has none.
    pub(crate) fn text(&self, name: &str) -> &OsStr {
        match self.values.get(name) {
            Some(Value::Text(value)) => value,
            _ => OsStr::new(""),
        }
    }

    /// A list. urfave/cli takes the default, one empty text, out of a list that differs from it
    /// (`lookupStringSlice`): the first empty value goes unseen unless it is the only one.
    pub(crate) fn list(&self, name: &str) -> Vec<OsString> {
        let Some(Value::List(values)) = self.values.get(name) else {
            return Vec::new();
        };
        let mut values = values.clone();
        if values.len() != 1
            && let Some(empty) = values.iter().position(|value| value.is_empty())
        {
            values.remove(empty);
        }
        values
    }
}

/// Reads flags up to the first argument that is none, or past `--`. On an error what was read so
/// far comes with it, as urfave/cli looks at it too. Mirrors `FlagSet.parseOne` of Go 1.26.
pub(crate) fn parse(flags: &[Flag], args: &[OsString]) -> (Parsed, Result<(), FlagError>) {
    let mut parsed = Parsed {
        values: defaults(flags),
        ..Parsed::default()
    };
    let mut rest = args;
    let result = loop {
        match parse_one(flags, &mut parsed, &mut rest) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    parsed.args = rest.to_vec();
    (parsed, result)
}

fn defaults(flags: &[Flag]) -> BTreeMap<&'static str, Value> {
    let value = |kind: &Kind| match kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int(value) => Value::Int(*value),
        Kind::Text(value) => Value::Text(value.clone()),
        Kind::List => Value::List(Vec::new()),
        Kind::Checked(_) => Value::Text(OsString::new()),
    };
    let named = |flag: &Flag| -> Vec<_> {
        flag.names
            .iter()
            .map(|name| (*name, value(&flag.kind)))
            .collect()
    };
    flags.iter().flat_map(named).collect()
}

/// Reads one flag and says whether there was one.
fn parse_one(
    flags: &[Flag],
    parsed: &mut Parsed,
    rest: &mut &[OsString],
) -> Result<bool, FlagError> {
    let Some((first, tail)) = rest.split_first() else {
        return Ok(false);
    };
    let text = first.as_bytes();
    let body = match text {
        b"--" => {
            *rest = tail;
            return Ok(false);
        }
        [b'-', b'-', body @ ..] => body,
        [b'-', body @ ..] if !body.is_empty() => body,
        _ => return Ok(false),
    };
    if matches!(body.first(), None | Some(b'-' | b'=')) {
        return Err(FlagError::Syntax(plain(text)));
    }
    *rest = tail;
    let (name, inline) = match body.iter().position(|byte| *byte == b'=') {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let found = flags.iter().find_map(|flag| {
        let known = flag.names.iter().find(|known| known.as_bytes() == name)?;
        Some((flag, *known))
    });
    let Some((flag, name)) = found else {
        return Err(FlagError::Undefined(plain(name)));
    };
    let value = match (&flag.kind, inline) {
        (_, Some(inline)) => inline.to_vec(),
        (Kind::Bool, None) => b"true".to_vec(),
        (_, None) => {
            let (value, tail) = rest
                .split_first()
                .ok_or(FlagError::NoValue(name.to_owned()))?;
            *rest = tail;
            value.as_bytes().to_vec()
        }
    };
    set(parsed, flag, name, &value)?;
    Ok(true)
}

fn set(parsed: &mut Parsed, flag: &Flag, name: &'static str, text: &[u8]) -> Result<(), FlagError> {
    let refused = |why: String| FlagError::Value {
        name: name.to_owned(),
        value: quote(text),
        why,
    };
    let given = OsString::from_vec(text.to_vec());
    let value = match &flag.kind {
        Kind::Bool => Value::Bool(parse_bool(text).map_err(|error| FlagError::Bool {
            name: name.to_owned(),
            value: quote(text),
            why: error.to_string(),
        })?),
        Kind::Int(_) => Value::Int(parse_int(text).map_err(|error| refused(error.to_string()))?),
        Kind::Text(_) => Value::Text(given),
        Kind::Checked(check) => {
            check(&plain(text)).map_err(refused)?;
            Value::Text(given)
        }
        Kind::List => {
            let mut list = match parsed.values.remove(name) {
                Some(Value::List(list)) => list,
                _ => Vec::new(),
            };
            list.push(given);
            Value::List(list)
        }
    };
    parsed.values.insert(name, value);
    parsed.given.insert(name);
    Ok(())
}

/// Gives every name of a flag the value that one of them was given (`normalizeFlags`).
///
/// # Errors
/// [`FlagError::TwoForms`] when two of them were given.
pub(crate) fn unite_names(flags: &[Flag], parsed: &mut Parsed) -> Result<(), FlagError> {
    for flag in flags {
        let mut given = flag
            .names
            .iter()
            .filter(|name| parsed.given.contains(**name));
        let (Some(first), second) = (given.next(), given.next()) else {
            continue;
        };
        if let Some(second) = second {
            return Err(FlagError::TwoForms(
                (*second).to_owned(),
                (*first).to_owned(),
            ));
        }
        let value = parsed.values.get(first).cloned();
        for name in flag.names {
            if let Some(value) = &value {
                parsed.values.insert(name, value.clone());
            }
            parsed.given.insert(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
