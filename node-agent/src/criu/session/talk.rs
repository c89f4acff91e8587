//! A dump under way: answering what CRIU announces, and stopping it.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use prost::Message as _;

use super::{
    super::{
        error::{Break, Error, Stop, Via},
        event::{Answer, Event, Handler},
        messages::{CriuOpts, CriuReq, CriuResp, ReqType},
        process::{Process, Woken},
    },
    Limits, Passed, receive, type_name,
};

/// How long CRIU may take to give way once a container has stood still for too long.
const AFTER_PAUSE: Duration = Duration::from_millis(250);

/// A dump under way.
pub(super) struct Talk<'a> {
    pub(super) process: &'a Process,
    pub(super) handler: &'a mut dyn Handler,
    pub(super) limits: &'a Limits<'a>,
    pub(super) state: State,
}

/// What has come of it so far.
#[derive(Default)]
pub(super) struct State {
    pub(super) events: Vec<Passed>,
    pub(super) stop: Option<Stop>,
    stopped_at: Option<Instant>,
    serving: bool,
}

impl Talk<'_> {
    pub(super) fn send(&self, request: &CriuReq) -> Result<(), Error> {
        self.process
            .send(&request.encode_to_vec())
            .map_err(|errno| Error::Broken {
                via: Via::Swrk,
                how: Break::Send(errno),
                status: None,
            })
    }

    /// Answers notifications until CRIU responds; the response may say that it failed.
    pub(super) fn listen(&mut self) -> Result<CriuResp, Error> {
        loop {
            self.wait()?;
            let response = receive(self.process, Via::Swrk)?;
            let arrived = Instant::now();
            if !response.success {
                return Ok(response);
            }
            match ReqType::try_from(response.r#type) {
                Ok(ReqType::Notify) => self.notified(&response, arrived)?,
                Ok(ReqType::Dump | ReqType::PreDump | ReqType::SinglePreDump) => {
                    return Ok(response);
                }
                _ => {
                    return Err(Error::Unexpected {
                        via: Via::Swrk,
                        got: type_name(&response),
                    });
                }
            }
        }
    }

    /// Returns when a message is there. What makes this side want to stop is noted on the way.
    fn wait(&mut self) -> Result<(), Error> {
        loop {
            let again = self.handler.look();
            let stopping = self.state.stop.is_some();
            let end = if stopping {
                self.kill_at()
            } else {
                self.next_deadline()
            };
            let until = end.into_iter().chain(again).min();
            let other = (!stopping).then(|| self.limits.cancel.as_fd());
            let woken = self
                .process
                .wait_for_message(other, until)
                .map_err(|source| Error::System {
                    call: "poll",
                    source,
                })?;
            let too_late = self.kill_at().is_some_and(|end| end <= Instant::now());
            match (woken, &self.state.stop) {
                (Woken::Message, _) => return Ok(()),
                (_, Some(stop)) if too_late => {
                    self.handler.about_to_kill();
                    return Err(Error::Stopped {
                        stop: stop.clone(),
                        killed: true,
                    });
                }
                (Woken::Time | Woken::Other, _) => self.look_around(),
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let pause = self.handler.pause_deadline();
        self.limits.deadline.into_iter().chain(pause).min()
    }

    /// When a CRIU that is to stop is killed if it does not: tasks that stand still meanwhile do so no longer than they may, whatever
    /// it was that made it stop.
    fn kill_at(&self) -> Option<Instant> {
        let since = self.state.stopped_at?;
        let grace = if self.state.serving {
            Duration::ZERO
        } else {
            self.limits.grace
        };
        let pause = self.handler.pause_deadline();
        let bound = pause.map(|pause| pause.max(since) + AFTER_PAUSE);
        bound.into_iter().chain([since + grace]).min()
    }

    /// Notes the first thing that wants this to stop.
    fn look_around(&mut self) {
        if self.state.stop.is_some() {
            return;
        }
        let now = Instant::now();
        let past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if let Some(why) = self.limits.cancel.why() {
            self.stop(Stop::Cancelled(why));
        } else if past(self.limits.deadline) {
            self.stop(Stop::TimedOut);
        } else if past(self.handler.pause_deadline()) {
            self.stop(Stop::PauseTooLong);
        }
    }

    fn stop(&mut self, stop: Stop) {
        self.state.stop = Some(stop);
        self.state.stopped_at = Some(Instant::now());
    }

    fn notified(&mut self, response: &CriuResp, arrived: Instant) -> Result<(), Error> {
        let script = response
            .notify
            .as_ref()
            .and_then(|notify| notify.script.as_deref());
        let event = Event::from_script(script.unwrap_or_default());
        self.look_around();
        let answer = if self.state.stop.is_none() || !event.can_refuse() {
            self.handler.on(&event)
        } else {
            Answer::Refuse
        };
        // The handler may have taken its time.
        self.look_around();
        if answer == Answer::Refuse && self.state.stop.is_none() {
            self.stop(Stop::Refused(event.clone()));
        }
        let go = self.state.stop.is_none() || !event.can_refuse();
        self.send(&answer_to(&event, answer, go))?;
        self.state.serving |= go && event == Event::StatusReady;
        self.state.events.push(Passed {
            event,
            arrived,
            answered: Instant::now(),
        });
        Ok(())
    }
}

fn answer_to(event: &Event, answer: Answer, go: bool) -> CriuReq {
    let external = match answer {
        Answer::GoWith(external) if go && *event == Event::QueryExtFiles => external,
        _ => Vec::new(),
    };
    let opts = (!external.is_empty()).then(|| CriuOpts {
        external,
        ..CriuOpts::default()
    });
    CriuReq {
        r#type: ReqType::Notify.into(),
        notify_success: Some(go),
        opts,
        ..CriuReq::default()
    }
}
