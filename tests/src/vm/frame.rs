//! What goes through the port of a guest: one connection for each command, pieces of its streams in both directions.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::wire::Request;

/// The longest piece of a stream.
pub(super) const LONGEST_PIECE: usize = 64 * 1024;

/// The longest frame that is taken: a request.
const LONGEST: u32 = 4 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A [`Call`], as JSON: the first frame.
    Call = 1,
    /// Of the standard input; no bytes are its end.
    Input = 2,
    /// Of the standard output.
    Output = 3,
    /// Of the standard error.
    Errors = 4,
    /// The exit status, a big-endian `i32`: the last frame.
    Status = 5,
}

/// The first frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    /// What is to be done.
    pub(super) request: Request,
    /// Which of the three standard streams is `/dev/null`, and is to be that there too: a container inherits them.
    pub(super) null: [bool; 3],
}

/// Writes one frame.
pub(super) fn write(to: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(bytes.len() + 5);
    frame.push(kind as u8);
    frame.extend(length.to_be_bytes());
    frame.extend(bytes);
    to.write_all(&frame)
}

/// Reads one frame; none at the end of the stream.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut kind = [0];
    if from.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    let kinds = [
        Kind::Call,
        Kind::Input,
        Kind::Output,
        Kind::Errors,
        Kind::Status,
    ];
    let found = kinds.into_iter().find(|known| [*known as u8] == kind);
    let (Some(kind), true) = (found, length <= LONGEST) else {
        return Err(io::Error::other("this is no frame"));
    };
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    from.read_exact(&mut bytes)?;
    Ok(Some((kind, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut stream = Vec::new();
        write(&mut stream, Kind::Input, b"a\0\xff").unwrap();
        write(&mut stream, Kind::Status, &[]).unwrap();
        let mut stream = stream.as_slice();
        assert_eq!(
            read(&mut stream).unwrap(),
            Some((Kind::Input, b"a\0\xff".to_vec()))
        );
        assert_eq!(read(&mut stream).unwrap(), Some((Kind::Status, Vec::new())));
        assert_eq!(read(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_strange_or_broken_frame_is_an_error() {
        for bytes in [
            &[9, 0, 0, 0, 0][..],
            &[2, 255, 0, 0, 0],
            &[2, 0, 0, 0, 3, 1],
        ] {
            assert!(read(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
