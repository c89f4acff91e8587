//! The two fields of `/proc/PID/stat` that tell one process from the next one of the same number.

use std::{fs, io};

/// State and start time of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 3: `R`, `S`, `Z`, …
    pub(super) state: char,
    /// Field 22: clock ticks between boot and the start of the process.
    pub(crate) start_time: u64,
}

impl Stat {
    /// Whether the process was stopped, by a signal or by whoever traces it.
    pub(super) fn is_stopped(self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Whether the process has ended; a zombie has (`hasInit` of runc).
    pub(super) fn has_ended(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Reads a process's stat; `None` when there is no such process.
pub(crate) fn read(pid: i32) -> io::Result<Option<Stat>> {
    let text = match fs::read(format!("/proc/{pid}/stat")) {
        Ok(bytes) => bytes,
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    parse(&text)
        .map(Some)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// When a process started, in clock ticks since boot; `None` when there is no such process, it has
/// ended, or it cannot be looked at.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = read(pid).ok().flatten()?;
    (!stat.has_ended()).then_some(stat.start_time)
}

/// A process that ends between open and read answers ESRCH.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The name in field 2 may hold spaces and parentheses, so that fields count from the last `)`.
pub(super) fn parse(text: &[u8]) -> Option<Stat> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let mut state = state.chars();
    let (Some(state), None) = (state.next(), state.next()) else {
        return None;
    };
    let start_time = fields.nth(22 - 4)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REAL: &str = "89653 (gunicorn: maste) S 89630 89653 89653 0 -1 4194560 29689 28896 0 3 \
                        146 32 76 19 20 0 1 0 2971844 52965376 3920 18446744073709551615 1 1 0\n";

    #[test]
    fn start_time_is_field_22() {
        assert_eq!(
            parse(REAL.as_bytes()),
            Some(Stat {
                state: 'S',
                start_time: 2_971_844
            })
        );
    }

    #[test]
    fn a_name_that_imitates_the_fields_does_not_shift_them() {
        let text = REAL.replace("gunicorn: maste", ") Z 1 1 1 1 (");
        assert_eq!(parse(text.as_bytes()).map(|stat| stat.state), Some('S'));
        assert_eq!(
            parse(text.as_bytes()).map(|stat| stat.start_time),
            Some(2_971_844)
        );
    }

    #[test]
    fn a_cut_line_is_no_stat() {
        assert_eq!(parse(b"12 (sh) S 1 2 3"), None);
        assert_eq!(parse(b"12 (sh"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn our_own_process_has_one_and_has_not_ended() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let stat = read(pid).unwrap().unwrap();
        assert!(stat.start_time > 0);
        assert!(!stat.has_ended());
    }

    proptest! {
        #[test]
        fn any_name_leaves_the_fields_alone(name in "[^\0]{0,16}", start in any::<u64>()) {
            let tail = format!("S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0\n");
            let text = format!("7 ({name}) {tail}");
            prop_assert_eq!(
                parse(text.as_bytes()),
                Some(Stat { state: 'S', start_time: start })
            );
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
