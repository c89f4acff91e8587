//! CRIU's page server over a connection that this side has accepted.
//!
//! CRIU serves `PAGE_SERVER_CHLD` with a child of its own and tells that child's pid; `WAIT_PID` then
//! tells how the child ended. There is nothing to roll back, so whatever stops it kills it.

use std::{
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::process::ExitStatusExt as _,
    },
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prost::Message as _;

use super::{
    cancel::Cancel,
    error::{Break, Error, Stop, Via},
    launch::Launch,
    messages::{CriuOpts, CriuReq, CriuResp, PageServerInfo, ReqType},
    process::{Process, Woken},
    session::{failed, receive, type_name},
    transport::raise,
};
use crate::pidfd;

/// How long CRIU may take to exit once it has told how its server ended.
const EXIT_WITHIN: Duration = Duration::from_secs(2);
/// How long the kernel may take to end a killed server, whose files are removed next.
const GONE_WITHIN_MS: u16 = 5000;

/// What ends a transfer early.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// When its time is over.
    pub deadline: Option<Instant>,
    /// Ends it from outside.
    pub cancel: &'a Cancel,
}

/// A CRIU that holds a connection and is to be asked to receive pages from it. Dropping it kills it.
#[derive(Debug)]
pub struct Serving {
    process: Process,
    connection: i32,
}

impl Serving {
    /// Starts CRIU with this connection, which is closed here.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start(launch: &Launch, connection: OwnedFd) -> Result<Self, Error> {
        let raised = raise(&connection).map_err(|source| Error::System {
            call: "dup",
            source,
        })?;
        drop(connection);
        Ok(Self {
            process: Process::swrk_with(launch, Some(raised.as_fd()))?,
            connection: raised.as_raw_fd(),
        })
    }

    /// The number of the process group in which CRIU and its server run.
    #[must_use]
    pub fn group(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Has the pages received, and says how the server ended; successfully is that the sender has been
    /// told that everything has arrived.
    ///
    /// # Guarantees
    /// When it returns, CRIU and its server have ended and the connection is closed.
    ///
    /// # Errors
    /// [`Error::Stopped`] when this side ended it, [`Error::Failed`] when CRIU could not begin,
    /// [`Error::Broken`] when it died.
    pub fn run(mut self, opts: CriuOpts, bounds: Bounds<'_>) -> Result<ExitStatus, Error> {
        let mut server = None;
        let done = self.converse(opts, bounds, &mut server);
        if done.is_ok() {
            self.process.finish_sending();
            self.process.end(Instant::now() + EXIT_WITHIN);
        }
        self.process.end_all();
        if let Some(server) = server {
            // It writes no more once it is gone. Should the kernel not get it done, nobody can.
            let mut fds = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(GONE_WITHIN_MS));
        }
        done
    }

    fn converse(
        &self,
        opts: CriuOpts,
        bounds: Bounds<'_>,
        server: &mut Option<OwnedFd>,
    ) -> Result<ExitStatus, Error> {
        let ps = PageServerInfo {
            fd: Some(self.connection),
            ..opts.ps.clone().unwrap_or_default()
        };
        let request = CriuReq {
            r#type: ReqType::PageServerChld.into(),
            keep_open: Some(true),
            opts: Some(CriuOpts {
                ps: Some(ps),
                ..opts
            }),
            ..CriuReq::default()
        };
        // CRIU answers as if it had been asked for a daemon.
        let started = self.ask(&request, ReqType::PageServer, bounds)?;
        let pid = started.ps.and_then(|ps| ps.pid).unwrap_or_default();
        *server = pidfd::open(pid).ok();
        let request = CriuReq {
            r#type: ReqType::WaitPid.into(),
            pid: Some(pid.cast_unsigned()),
            ..CriuReq::default()
        };
        let ended = self.ask(&request, ReqType::WaitPid, bounds)?;
        Ok(ExitStatus::from_raw(ended.status.unwrap_or(-1)))
    }

    fn ask(
        &self,
        request: &CriuReq,
        wanted: ReqType,
        bounds: Bounds<'_>,
    ) -> Result<CriuResp, Error> {
        let via = Via::Swrk;
        self.process
            .send(&request.encode_to_vec())
            .map_err(|errno| Error::Broken {
                via,
                how: Break::Send(errno),
                status: None,
            })?;
        let woken = self
            .process
            .wait_for_message(Some(bounds.cancel.as_fd()), bounds.deadline)
            .map_err(|source| Error::System {
                call: "poll",
                source,
            })?;
        let stop = match woken {
            Woken::Message => None,
            Woken::Time => Some(Stop::TimedOut),
            Woken::Other => bounds.cancel.why().map(Stop::Cancelled),
        };
        if let Some(stop) = stop {
            return Err(Error::Stopped { stop, killed: true });
        }
        let response = receive(&self.process, via)?;
        if !response.success {
            return Err(failed(via, &response));
        }
        if response.r#type() != wanted {
            let got = type_name(&response);
            return Err(Error::Unexpected { via, got });
        }
        Ok(response)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.process.end_all();
    }
}
