//! A conversation with CRIU: version, features, then a dump with its notifications.

mod talk;

use std::time::{Duration, Instant};

use prost::Message as _;

use super::{
    cancel::Cancel,
    error::{Break, Error, Stop, Via},
    event::{Event, Handler},
    launch::Launch,
    messages::{CriuFeatures, CriuReq, CriuResp, CriuVersion, ReqType},
    process::{Process, Woken},
    version::Version,
};
use talk::{State, Talk};

/// One `criu swrk` process that waits for a request.
///
/// CRIU serves `VERSION` and `FEATURE_CHECK` with `keep_open` since 3.0, the oldest that runc
/// accepts, so one process answers them and then dumps. Should it have ended in between, the next
/// request starts another.
#[derive(Debug)]
pub struct Swrk {
    launch: Launch,
    process: Process,
}

/// What bounds a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// When the whole request is over.
    pub deadline: Option<Instant>,
    /// How long CRIU may take to give way once it is to stop, before it is killed; and to exit
    /// after its response.
    pub grace: Duration,
    /// Ends it from outside.
    pub cancel: &'a Cancel,
}

/// A notification that has been answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Which.
    pub event: Event,
    /// When it arrived.
    pub arrived: Instant,
    /// When the answer left.
    pub answered: Instant,
}

/// A request that CRIU carried out.
#[derive(Debug, Clone)]
pub struct Finished {
    /// CRIU's response.
    pub response: CriuResp,
    /// The notifications, in order.
    pub events: Vec<Passed>,
    /// When the response arrived.
    pub responded: Instant,
    /// A wish to stop that came when CRIU could no longer heed it: after the last answer.
    pub overtaken: Option<Stop>,
}

impl Swrk {
    /// Starts CRIU.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start(launch: &Launch) -> Result<Self, Error> {
        Ok(Self {
            launch: launch.clone(),
            process: Process::swrk(launch)?,
        })
    }

    /// The pid of the CRIU process, for a journal; CRIU leads a session of that number.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Asks for CRIU's version.
    ///
    /// # Errors
    /// When CRIU does not answer properly until then, with the texts of go-criu, which runc uses
    /// for this request.
    pub fn version(&mut self, until: Instant) -> Result<Version, Error> {
        let request = CriuReq {
            r#type: ReqType::Version.into(),
            ..CriuReq::default()
        };
        let response = self.ask(request, Via::GoCriu, until)?;
        if response.r#type() != ReqType::Version {
            return Err(Error::Unexpected {
                via: Via::GoCriu,
                got: type_name(&response),
            });
        }
        Ok(response.version.unwrap_or_else(CriuVersion::default).into())
    }

    /// Asks which of the `wanted` features there are; the others come back as false.
    ///
    /// # Errors
    /// When CRIU does not answer properly until then.
    pub fn features(
        &mut self,
        wanted: CriuFeatures,
        until: Instant,
    ) -> Result<CriuFeatures, Error> {
        let request = CriuReq {
            r#type: ReqType::FeatureCheck.into(),
            features: Some(wanted),
            ..CriuReq::default()
        };
        let response = self.ask(request, Via::Swrk, until)?;
        if response.r#type() != ReqType::FeatureCheck {
            return Err(Error::Unexpected {
                via: Via::Swrk,
                got: type_name(&response),
            });
        }
        Ok(response.features.unwrap_or_default())
    }

    /// Sends a dump, pre-dump or single pre-dump, has its notifications answered, and waits for
    /// CRIU to exit. Mirrors `criuSwrk` of runc 1.5.2.
    ///
    /// # Guarantees
    /// When it returns, CRIU has ended and is reaped. A triggered token and a passed deadline make
    /// the next answer a no, whatever the handler says; what does not end CRIU within
    /// `limits.grace` is killed. A dump that succeeded although it was to stop (too late: the last
    /// answer had gone) is a success, with [`Finished::overtaken`] set: tasks may have ended by
    /// then, and the image is all that is left of them. Once lazy pages are being served there is
    /// nothing left to refuse, and CRIU is killed at once.
    ///
    /// # Errors
    /// [`Error::Stopped`] when this side ended it, [`Error::Failed`] when CRIU says it failed,
    /// [`Error::Broken`] when CRIU died, [`Error::Exit`] when it answered and then exited badly
    /// (which runc overlooks after a pre-dump, so this does).
    pub fn run(
        mut self,
        request: &CriuReq,
        handler: &mut dyn Handler,
        limits: &Limits<'_>,
    ) -> Result<Finished, Error> {
        self.renew()?;
        let asked = request.r#type();
        let mut talk = Talk {
            process: &self.process,
            handler,
            limits,
            state: State::default(),
        };
        let result = talk.send(request).and_then(|()| talk.listen());
        if result.is_ok() {
            talk.handler.responded();
        }
        let State { events, stop, .. } = talk.state;
        let response = match result {
            Ok(response) => response,
            Err(error) => return Err(self.broken_off(error, stop, limits.grace)),
        };
        let responded = Instant::now();
        if !response.success {
            self.process.end(responded + limits.grace);
            return Err(stop.map_or_else(
                || failed(Via::Swrk, &response),
                |stop| Error::Stopped {
                    stop,
                    killed: false,
                },
            ));
        }
        self.process.finish_sending();
        let status = self.exit(limits.grace)?;
        if !status.success() && asked != ReqType::PreDump {
            return Err(Error::Exit { status });
        }
        Ok(Finished {
            response,
            events,
            responded,
            overtaken: stop,
        })
    }

    fn exit(&mut self, grace: Duration) -> Result<std::process::ExitStatus, Error> {
        let until = Instant::now() + grace;
        let system = |source| Error::System {
            call: "wait",
            source,
        };
        match self.process.wait(until).map_err(system)? {
            Some(status) => Ok(status),
            None => self
                .process
                .end(until)
                .ok_or_else(|| system(nix::errno::Errno::ETIMEDOUT)),
        }
    }

    /// Ends what is left of a conversation that broke off, and says why it did: that this side was
    /// ending it goes before how it ended.
    fn broken_off(&mut self, error: Error, stop: Option<Stop>, grace: Duration) -> Error {
        let (patience, killed) = match &error {
            Error::Stopped { killed, .. } => (Duration::ZERO, *killed),
            _ => (grace, false),
        };
        let status = self.process.end(Instant::now() + patience);
        match (error, stop) {
            (Error::Broken { .. }, Some(stop)) => Error::Stopped { stop, killed },
            (Error::Broken { via, how, .. }, None) => Error::Broken { via, how, status },
            (error, _) => error,
        }
    }

    /// One request with one response, in a process that stays. One that has served before and
    /// breaks off now did not stay: another is started, once.
    fn ask(&mut self, mut request: CriuReq, via: Via, until: Instant) -> Result<CriuResp, Error> {
        request.keep_open = Some(true);
        let mut result = exchange(&self.process, &request, via, until);
        if self.process.has_served() && matches!(result, Err(Error::Broken { .. })) {
            self.process = Process::swrk(&self.launch)?;
            result = exchange(&self.process, &request, via, until);
        }
        match result {
            Ok(response) if response.success => Ok(response),
            Ok(response) => Err(failed(via, &response)),
            Err(Error::Broken { via, how, .. }) => {
                let status = self.process.end(until);
                Err(Error::Broken { via, how, status })
            }
            Err(error) => {
                self.process.end(Instant::now());
                Err(error)
            }
        }
    }

    fn renew(&mut self) -> Result<(), Error> {
        // A first request finds out by itself what is wrong with a program that ends at once.
        if self.process.has_served() && self.process.is_closed() {
            self.process = Process::swrk(&self.launch)?;
        }
        Ok(())
    }
}

fn exchange(
    process: &Process,
    request: &CriuReq,
    via: Via,
    until: Instant,
) -> Result<CriuResp, Error> {
    let broken = |how| Error::Broken {
        via,
        how,
        status: None,
    };
    process
        .send(&request.encode_to_vec())
        .map_err(|errno| broken(Break::Send(errno)))?;
    match process.wait_for_message(None, Some(until)) {
        Ok(Woken::Time) => Err(Error::Stopped {
            stop: Stop::TimedOut,
            killed: true,
        }),
        Ok(Woken::Message | Woken::Other) => receive(process, via),
        Err(source) => Err(Error::System {
            call: "poll",
            source,
        }),
    }
}

pub(super) fn receive(process: &Process, via: Via) -> Result<CriuResp, Error> {
    let broken = |how| Error::Broken {
        via,
        how,
        status: None,
    };
    match process.receive() {
        Ok(Some(message)) => CriuResp::decode(message.as_slice()).map_err(Error::Decode),
        Ok(None) => Err(broken(Break::Closed)),
        Err(errno) => Err(broken(Break::Receive(errno))),
    }
}

pub(super) fn failed(via: Via, response: &CriuResp) -> Error {
    Error::Failed {
        via,
        request: type_name(response),
        errno: response.cr_errno.unwrap_or(0),
        message: response.cr_errmsg.clone().unwrap_or_default(),
    }
}

pub(super) fn type_name(response: &CriuResp) -> String {
    ReqType::try_from(response.r#type).map_or_else(
        |_| response.r#type.to_string(),
        |known| known.name().to_owned(),
    )
}
