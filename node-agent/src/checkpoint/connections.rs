//! Connections that CRIU stopped to save them, set going again after it was killed.
//!
//! CRIU puts an established TCP socket into the kernel's repair mode (`TCP_REPAIR`, see
//! `soccr/soccr.c`), in which the kernel neither sends nor receives for it and the application's
//! calls fail. A CRIU that ends properly takes it out again.

use std::{
    collections::HashSet,
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, setsockopt, sockopt::TcpRepair},
};

use crate::pidfd;

/// A connection that could not be set going.
#[derive(Debug, thiserror::Error)]
#[error("failed to end the repair mode of {path}", path = .path.display())]
pub struct Error {
    path: PathBuf,
    source: Errno,
}

/// Takes every TCP socket of these processes out of repair mode.
///
/// A process or socket that ends meanwhile needs nothing.
///
/// # Errors
/// The first socket that is in repair mode and stays so; the others are still tried.
pub(super) fn set_going(pids: impl IntoIterator<Item = i32>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let mut outcome = Ok(());
    for pid in pids {
        let Ok(process) = pidfd::open(pid) else {
            continue;
        };
        let links = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        for path in links.map(|entry| entry.path()) {
            // Held by several processes, it is one socket.
            let is_new =
                is_socket(&path) && fs::metadata(&path).is_ok_and(|m| seen.insert(m.ino()));
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            let socket = number
                .filter(|_| is_new)
                .and_then(|number| pidfd::copy(&process, number).ok());
            if let Some(Err(source)) = socket.as_ref().map(end_repair) {
                outcome = Err(Error { path, source });
            }
        }
    }
    outcome
}

fn is_socket(link: &std::path::Path) -> bool {
    fs::read_link(link).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
}

fn end_repair(socket: &OwnedFd) -> Result<(), Errno> {
    // Only a TCP socket has the option.
    if getsockopt(socket, TcpRepair).is_ok_and(|mode| mode != 0) {
        setsockopt(socket, TcpRepair, &0)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_alone_what_is_no_tcp_socket_or_not_in_repair_mode() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _pair = std::os::unix::net::UnixStream::pair().unwrap();
        set_going([std::process::id().cast_signed(), i32::MAX]).unwrap();
    }
}
