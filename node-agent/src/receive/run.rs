//! Receiving itself, from the first look at the directories to the report.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::statvfs::statvfs;

use super::{
    Error, Observer, Report, Request,
    dirs::Dirs,
    listener::{Came, Listener},
    warden::Warden,
};
use crate::{
    criu::{
        self, Bounds, Cancel, Launch, Serving, log,
        messages::{CriuOpts, PageServerInfo},
    },
    images::{self, Folder},
};

/// CRIU's log in the work directory.
const LOG_FILE: &str = "page-server.log";
/// CRIU's most talkative level.
const LOG_LEVEL: i32 = 4;
/// Less room than this on a disk is none: CRIU writes several pages at a time.
const FULL_BELOW_BYTES: u64 = 64 << 10;
/// What the files of pages are called.
const OF_PAGES: [&str; 2] = ["pages-", "pagemap-"];

/// Receives the memory of one dump.
///
/// # Flow
/// Directories, listen, and for whoever connects: have CRIU receive, verify, flush, digest, rename. Who
/// connects and sends nothing (somebody who looks for open ports, a sender with a wrong certificate) is
/// passed over, and the sender is waited for again.
///
/// # Guarantees
/// Either all pages are on disk under the final name, or nothing of them is left; in both cases CRIU has
/// ended. A sender whose dump succeeds has been told that all has arrived before; a sender that has not been told
/// so has failed. When this process is killed, CRIU is ended by a warden and the sender fails.
///
/// # Cancel
/// Once `cancel` is triggered it ends at once: there is nothing here to roll back, and the sender's
/// dump fails and its container goes on.
///
/// # Errors
/// See [`Error`].
pub fn run(
    launch: &Launch,
    request: &Request,
    cancel: &Cancel,
    observer: &mut dyn Observer,
) -> Result<Report, Error> {
    let mut dirs = Dirs::prepare(request)?;
    let started = Instant::now();
    let bounds = Bounds {
        deadline: request.timeout.map(|timeout| started + timeout),
        cancel,
    };
    let mut listener = Listener::open(request.listen)?;
    let address = listener.address();
    observer.listening(address);
    let mut trouble = None;
    loop {
        let (connection, peer) = match listener.wait(bounds, |peer| request.admits(peer))? {
            Came::Peer(connection, peer) => (connection, peer),
            Came::Stranger(peer) => {
                let why = "it is not among those that may send";
                trouble = Some(passed_over(peer, why, observer));
                continue;
            }
            Came::Left(peer) => {
                trouble = Some(passed_over(peer, "it has sent nothing", observer));
                continue;
            }
            Came::Nobody => {
                let waited = started.elapsed();
                return Err(Error::NobodyCame { waited, trouble });
            }
            Came::CalledOff => return Err(Error::CalledOff),
        };
        // One sender at a time: whoever else comes is refused, and does not wait for nothing.
        drop(listener);
        observer.connected(peer);
        let connected = Instant::now();
        let transfer = Transfer {
            launch,
            request,
            dirs: &dirs,
            peer,
            bounds,
        };
        let failed = match transfer.receive(address, connection) {
            Ok(()) => {
                return publish(request, &mut dirs, peer, connected, observer);
            }
            Err(error) => error,
        };
        if has_pages(&dirs.partial) || !matches!(failed, Error::Broken { full: false, .. }) {
            return Err(failed);
        }
        trouble = Some(passed_over(peer, &failed.to_string(), observer));
        dirs.clear();
        listener = Listener::open(address)?;
    }
}

/// Tells that somebody has not been the sender, and returns that for whoever waits in vain.
fn passed_over(peer: SocketAddr, why: &str, observer: &mut dyn Observer) -> String {
    observer.refused(peer, why);
    format!("{} came, and {why}", peer.ip())
}

/// A sender that has connected.
#[derive(Debug)]
struct Transfer<'a> {
    launch: &'a Launch,
    request: &'a Request,
    dirs: &'a Dirs,
    peer: SocketAddr,
    bounds: Bounds<'a>,
}

impl Transfer<'_> {
    /// Has CRIU receive what comes.
    fn receive(&self, address: SocketAddr, connection: OwnedFd) -> Result<(), Error> {
        let opts = self.options(address);
        let serve = |source| {
            let (full, cause) = self.cause();
            Error::Serve {
                source,
                log: self.log(),
                cause,
                full,
            }
        };
        let serving = Serving::start(self.launch, connection).map_err(serve)?;
        let group = serving.group().unwrap_or_default().cast_signed();
        let warden = Warden::post(group, self.launch.cgroup.as_deref()).map_err(Error::Warden)?;
        let ended = serving.run(opts, self.bounds);
        drop(warden);
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => {
                let (full, cause) = self.cause();
                Err(Error::Broken {
                    log: self.log(),
                    cause,
                    full,
                })
            }
            Err(source) => Err(serve(source)),
        }
    }

    fn options(&self, address: SocketAddr) -> CriuOpts {
        let Request { tls, .. } = self.request;
        CriuOpts {
            images_dir_fd: self.dirs.partial_file.as_raw_fd(),
            work_dir_fd: self.dirs.work_file.as_ref().map(AsRawFd::as_raw_fd),
            log_level: Some(LOG_LEVEL),
            log_file: Some(LOG_FILE.to_owned()),
            ps: Some(PageServerInfo {
                // What the other end's certificate is held against, where it is.
                address: Some(self.peer.ip().to_canonical().to_string()),
                port: Some(address.port().into()),
                ..PageServerInfo::default()
            }),
            ..tls.as_ref().map(criu::Tls::options).unwrap_or_default()
        }
    }

    fn log(&self) -> PathBuf {
        self.dirs.work.join(LOG_FILE)
    }

    /// Whether a disk is full, and what else tells most.
    fn cause(&self) -> (bool, Option<String>) {
        let dirs = [&self.dirs.partial, &self.dirs.work];
        let full = dirs.into_iter().find(|dir| is_full(dir));
        let told = full.map(|dir| format!("no space left on device: {}", dir.display()));
        let cause = told.or_else(|| log::cause(&self.log()));
        (full.is_some(), cause)
    }
}

/// Proves what has arrived, brings it to disk, and gives it its name.
fn publish(
    request: &Request,
    dirs: &mut Dirs,
    peer: SocketAddr,
    connected: Instant,
    observer: &mut dyn Observer,
) -> Result<Report, Error> {
    let folder = Folder::open(&dirs.partial).map_err(Error::Publish)?;
    let pages = images::verify_pages(&folder).map_err(Error::Incomplete)?;
    images::flush(&folder).map_err(Error::Publish)?;
    let digest = images::digest(&folder).map_err(Error::Publish)?;
    let size = images::measure(&folder).map_err(Error::Publish)?;
    let work_path = request.work_dir.as_ref().unwrap_or(&request.image);
    let mut report = Report {
        image_path: request.image.clone(),
        work_path: work_path.clone(),
        peer: peer.ip().to_canonical(),
        pages,
        size_bytes: size.bytes,
        files: size.files,
        digest,
        microseconds: 0,
    };
    observer.complete(&report);
    images::name(&dirs.partial, &request.image).map_err(Error::Publish)?;
    dirs.published();
    report.microseconds = micros(connected.elapsed());
    Ok(report)
}

/// Whether anything has come that is more than a connection.
fn has_pages(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        OF_PAGES.iter().any(|start| name.starts_with(start))
    })
}

/// Whether nothing more fits on a directory's disk.
fn is_full(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|disk| {
        disk.blocks_available().saturating_mul(disk.fragment_size()) < FULL_BELOW_BYTES
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
