//! The node's side: stands there for a command that runs in the guest.

use std::fs;
use std::io::{self, Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use super::ADDRESS;
use super::frame::{self, Call, Kind, LONGEST_PIECE};

/// Has the guest do what this request (JSON) says, with this process's standard streams, and returns the command's exit status.
///
/// # Errors
/// The guest cannot be reached or goes away.
pub fn call(request: &str) -> io::Result<i32> {
    let null = [0, 1, 2].map(is_null);
    let request = serde_json::from_str(request)?;
    let call = serde_json::to_vec(&Call { request, null })?;
    let mut guest = TcpStream::connect(ADDRESS)?;
    guest.set_nodelay(true)?;
    frame::write(&mut guest, Kind::Call, &call)?;
    if let ([false, ..], Ok(to)) = (null, guest.try_clone()) {
        thread::spawn(move || send_input(to));
    }
    loop {
        match frame::read(&mut guest)? {
            Some((Kind::Output, bytes)) => write_all(io::stdout(), &bytes),
            Some((Kind::Errors, bytes)) => write_all(io::stderr(), &bytes),
            Some((Kind::Status, bytes)) => {
                guest.shutdown(Shutdown::Both)?;
                let status = <[u8; 4]>::try_from(bytes.as_slice()).map_err(io::Error::other)?;
                return Ok(i32::from_be_bytes(status));
            }
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Whoever does not read what a command prints does not end it.
fn write_all(mut to: impl Write, bytes: &[u8]) {
    let _ = to.write_all(bytes).and_then(|()| to.flush());
}

fn send_input(mut to: TcpStream) {
    let mut piece = vec![0; LONGEST_PIECE];
    loop {
        let length = io::stdin().read(&mut piece).unwrap_or(0);
        let sent = frame::write(&mut to, Kind::Input, piece.get(..length).unwrap_or(&[]));
        if length == 0 || sent.is_err() {
            return;
        }
    }
}

fn is_null(fd: u8) -> bool {
    let device = |path: &str| fs::metadata(path).map(|file| (file.rdev(), file.mode()));
    match (device("/dev/null"), device(&format!("/proc/self/fd/{fd}"))) {
        (Ok(null), Ok(this)) => null == this,
        _ => false,
    }
}
