//! One checkpoint from its turn in the queue to its last word in the status.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::ResourceExt as _;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{DeletionPolicy, RelativePath},
};
use tokio::{runtime::Handle, sync::watch};
use tracing::{error, info, warn};

use super::{
    attempt::{Attempt, Broken, called},
    context::Context,
    dump::Dumper,
    failed::{Failed, chain},
    order::{self, Order},
    place::{Owner, Phase, Place, SavedReport},
    receipt::Receipt,
    report,
    status::Written,
    work::{Entered, Turn},
};
use crate::criu::Cancel;

/// How often a dump is tried whose failures touch nobody, and the waits between.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How long a receiver may take to say what it has of an image that is complete.
const RECEIPT_WITHIN: Duration = Duration::from_secs(10);

/// Whether a job is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It is.
    GoOn,
    /// Nobody wants it any more: its object was deleted, or has ended in somebody else's hand.
    Withdrawn,
    /// This agent has to end.
    AgentEnds,
}

/// What a job leaves behind.
#[derive(Debug, Default)]
pub struct Ended {
    /// The object as last seen.
    pub object: Option<Box<ContainerCheckpoint>>,
    /// The API server will not take what there is to say.
    pub refused: bool,
    /// It is to be tried again later.
    pub retry: bool,
}

/// Why a job stops short.
#[derive(Debug)]
pub(super) enum Halt {
    /// It has failed, after the container stood still for so many milliseconds if at all.
    Failed(Failed, Option<i64>),
    /// Nobody wants it any more.
    Unwanted(Option<Box<ContainerCheckpoint>>),
    /// Nobody wants it any more, and its dump was rolled back.
    CalledOff,
    /// It has not begun, and is left to this agent's successor.
    Left,
    /// The API server will not take what there is to say.
    Refused,
}

impl From<Failed> for Halt {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed, None)
    }
}

/// A checkpoint under way.
#[derive(Debug)]
pub struct Job<D: Dumper> {
    /// What it works with.
    pub context: Arc<Context<D>>,
    /// Its object as last seen.
    pub object: Box<ContainerCheckpoint>,
    /// Whether it is to go on.
    pub wishes: watch::Receiver<Wish>,
}

impl<D: Dumper> Job<D> {
    /// Dumps, and says what came of it. `parent` is where the image of the parentRef is.
    pub async fn checkpoint(mut self, parent: Option<RelativePath>) -> Ended {
        let done = self.until_done(parent.as_ref()).await;
        match done {
            Ok((place, saved)) => self.succeed(&place, &saved).await,
            Err(Halt::Failed(failed, pause)) => self.fail(&failed, pause).await,
            Err(Halt::Unwanted(object)) => Ended {
                object,
                ..Ended::default()
            },
            Err(Halt::CalledOff) => {
                let object = report::reference(&self.object);
                info!(object, "a dump was called off and rolled back");
                self.context.metrics.failed(Reason::Cancelled);
                self.context.events.called_off(&self.object).await;
                Ended::default()
            }
            Err(Halt::Left) => Ended::default(),
            Err(Halt::Refused) => Ended {
                refused: true,
                ..Ended::default()
            },
        }
    }

    async fn until_done(
        &mut self,
        parent: Option<&RelativePath>,
    ) -> Result<(Place, SavedReport), Halt> {
        let order = Arc::new(Order::of(&self.object, parent)?);
        // Held until the dump is over, and not while it is reported.
        let _turn = self.turn(&order).await?;
        let place = self.context.place(&self.object).map_err(Failed::from)?;
        let mut tried = 0;
        loop {
            tried += 1;
            let attempt = Attempt {
                job: self,
                order: &order,
                place: &place,
                number: u32::try_from(tried).unwrap_or(u32::MAX),
            };
            match attempt.run().await {
                Ok(mut saved) => {
                    self.deduplicate(&place, &mut saved).await;
                    return Ok((place, saved));
                }
                Err(Broken::For(halt)) => return Err(halt),
                Err(Broken::Harmless(failed)) => {
                    let Some(wait) = WAITS.get(tried - 1) else {
                        return Err(failed.into());
                    };
                    warn!(
                        object = report::reference(&self.object),
                        reason = failed.failure.reason,
                        "a dump failed before it touched the container, trying again"
                    );
                    let say = |object: &ContainerCheckpoint| {
                        wanted(object)
                            .then(|| report::retrying(object, &failed.failure, Timestamp::now()))
                    };
                    self.say(say).await?;
                    self.unless_called_off(tokio::time::sleep(*wait)).await?;
                }
            }
        }
    }

    /// Waits for its turn, and says so where there is a wait.
    async fn turn(&mut self, order: &Order) -> Result<Turn, Halt> {
        let queue = self.context.queue.clone();
        let (turn, ahead) = match queue.enter(&order.namespace, &order.container_id) {
            Entered::Now(turn) => return Ok(turn),
            Entered::Later { turn, ahead } => (turn, ahead),
        };
        let mut draining = self.context.draining.clone();
        self.say(|object| wanted(object).then(|| report::queued(object, ahead, Timestamp::now())))
            .await?;
        let wait = async move {
            tokio::select! {
                turn = turn => turn.ok(),
                _ = draining.wait_for(|draining| *draining) => None,
            }
        };
        self.unless_called_off(wait).await?.ok_or(Halt::Left)
    }

    /// Writes a status on the way, unless the job is called off meanwhile.
    pub(super) async fn say(
        &mut self,
        wanted: impl Fn(
            &ContainerCheckpoint,
        ) -> Option<stillframe_crds::checkpoint::ContainerCheckpointStatus>
        + Send,
    ) -> Result<(), Halt> {
        let writer = self.context.writer.clone();
        let object = self.object.clone();
        let write = async move { writer.write(&*object, wanted).await };
        match self.unless_called_off(write).await? {
            Ok(Written::Stored(object)) => {
                self.object = object;
                Ok(())
            }
            Ok(Written::Unwanted(object)) => Err(Halt::Unwanted(Some(object))),
            Ok(Written::Gone) => Err(Halt::Unwanted(None)),
            Err(error) => {
                error!(error = chain(&error), "the API server refuses a status");
                Err(Halt::Refused)
            }
        }
    }

    /// What `work` comes to, unless the time is up or the job is called off first.
    pub(super) async fn unless_called_off<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Halt> {
        let left = self.time_left()?;
        let mut wishes = self.wishes.clone();
        tokio::select! {
            biased;
            wish = called(&mut wishes) => Err(match wish {
                Wish::AgentEnds => Halt::Left,
                Wish::GoOn | Wish::Withdrawn => Halt::Unwanted(None),
            }),
            () = tokio::time::sleep(left) => Err(self.timed_out()),
            done = work => Ok(done),
        }
    }

    /// What is left of the request's time.
    pub(super) fn time_left(&self) -> Result<Duration, Halt> {
        let left = Timestamp::now().duration_until(order::deadline(&self.object));
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => Ok(left),
            _ => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> Halt {
        let seconds = self.object.spec.timeout_seconds;
        let message = format!("the request was not done within {seconds} s of its creation");
        Failed::of(Reason::TimedOut, message).into()
    }

    /// The image is there.
    async fn succeed(self, place: &Place, saved: &SavedReport) -> Ended {
        let object = report::reference(&self.object);
        let mut owner = owner_of(&self.object);
        owner.phase = Phase::Finished;
        owner.report = Some(saved.clone());
        let record = owner.clone();
        let noted = self
            .context
            .blocking(place, move |place| place.record(&record))
            .await;
        if let Err(error) = noted {
            warn!(
                object,
                error = chain(&error),
                "could not note a finished image"
            );
        }
        info!(
            object,
            pause_microseconds = saved.pause_microseconds,
            bytes = saved.size_bytes,
            "checkpointed"
        );
        self.context.metrics.succeeded(&self.object, saved);
        let (node, path) = (self.context.node.clone(), place.image_dir());
        let say = |object: &ContainerCheckpoint| {
            let now = Timestamp::now();
            wanted(object).then(|| report::finished(object, &node, &path, saved, now))
        };
        let written = self.context.writer.write(&*self.object, say).await;
        let keeps = self.object.spec.deletion_policy == DeletionPolicy::Retain;
        let given_up = match &written {
            Ok(Written::Unwanted(object)) => object.is_finished() && !object.is_deleted(),
            Ok(Written::Gone | Written::Stored(_)) | Err(_) => false,
        };
        if given_up && self.object.spec.options.ends_the_container() {
            warn!(
                object,
                "an image came too late and is kept: its container has ended"
            );
            self.context.events.kept(&self.object, &path).await;
        } else if given_up || !keeps && matches!(written, Ok(Written::Gone)) {
            info!(object, "an image came too late and is removed");
            let uid = owner.uid;
            if let Err(error) = self
                .context
                .blocking(place, move |place| place.remove(&uid))
                .await
            {
                warn!(object, error = chain(&error), "could not remove an image");
            }
        }
        self.told(written).await
    }

    /// It has failed.
    pub(super) async fn fail(self, failed: &Failed, pause: Option<i64>) -> Ended {
        warn!(
            object = report::reference(&self.object),
            reason = failed.failure.reason,
            error = failed.failure.message,
            "a checkpoint failed"
        );
        self.context.metrics.failed(failed.reason());
        let say = |object: &ContainerCheckpoint| {
            wanted(object).then(|| report::failed(object, &failed.failure, pause, Timestamp::now()))
        };
        let written = self.context.writer.write(&*self.object, say).await;
        self.told(written).await
    }

    /// Reports a finished image of a former agent.
    pub async fn adopt(self, place: Place, mut saved: SavedReport) -> Ended {
        info!(
            object = report::reference(&self.object),
            "adopts a finished image"
        );
        self.find_other_half(&mut saved).await;
        // Nobody knows how far the former agent came with that.
        self.deduplicate(&place, &mut saved).await;
        self.succeed(&place, &saved).await
    }

    /// Asks the receiver for what it has, where the former agent was lost before it could note that.
    async fn find_other_half(&self, saved: &mut SavedReport) {
        let status = self.object.status.as_ref();
        let server = status.and_then(|status| status.page_server.clone());
        let (None, Some(server), Ok(cancel)) = (&saved.other, server, Cancel::new()) else {
            return;
        };
        let receipt = Receipt {
            client: self.context.writer.client().clone(),
            namespace: self.object.namespace().unwrap_or_default(),
            server,
            cancel,
            runtime: Handle::current(),
        };
        let until = Instant::now() + RECEIPT_WITHIN;
        let asked = tokio::task::spawn_blocking(move || receipt.wait(Some(until))).await;
        match asked {
            Ok(Ok(part)) => saved.other = Some(part),
            Ok(Err(why)) => saved.warnings.push(format!("the memory: {why}")),
            Err(error) => saved.warnings.push(format!("the memory: {error}")),
        }
    }

    /// Reports that the time is up.
    pub async fn time_out(self) -> Ended {
        match self.timed_out() {
            Halt::Failed(failed, pause) => self.fail(&failed, pause).await,
            Halt::Unwanted(_) | Halt::CalledOff | Halt::Left | Halt::Refused => Ended::default(),
        }
    }

    /// Puts away what a former agent left half-done, and reports that.
    pub async fn fail_restarted(self, place: Option<Place>) -> Ended {
        let uid = owner_of(&self.object).uid;
        // The sweep has put away what a container that goes on can do without; of one that has
        // ended nothing is thrown away.
        let goes_on = !self.object.spec.options.ends_the_container();
        if let Some(place) = place.filter(|_| goes_on)
            && let Err(error) = self
                .context
                .blocking(&place, move |place| place.discard_partial(&uid))
                .await
        {
            warn!(
                error = chain(&error),
                "could not remove an unfinished image"
            );
        }
        let message = "the agent was restarted while it dumped; the container goes on";
        let failed = Failed::of(Reason::AgentRestarted, message);
        self.fail(&failed, None).await
    }

    /// The last word has been spoken.
    pub(super) async fn told(self, written: Result<Written, super::status::Error>) -> Ended {
        match written {
            Ok(Written::Stored(object)) => {
                if object.is_finished() {
                    self.context.events.ended(&object).await;
                }
                Ended {
                    object: Some(object),
                    ..Ended::default()
                }
            }
            Ok(Written::Unwanted(object)) => Ended {
                object: Some(object),
                ..Ended::default()
            },
            Ok(Written::Gone) => Ended::default(),
            Err(error) => {
                error!(error = chain(&error), "the API server refuses a status");
                Ended {
                    refused: true,
                    ..Ended::default()
                }
            }
        }
    }
}

/// Whether anything but a removal is still to be said of an object.
pub(super) fn wanted(object: &ContainerCheckpoint) -> bool {
    !object.is_finished() && !object.is_deleted()
}

/// The object as the owner of its place.
pub(super) fn owner_of(object: &ContainerCheckpoint) -> Owner {
    let status = object.status.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Owner {
        uid: text(&object.metadata.uid),
        namespace: text(&object.metadata.namespace),
        name: text(&object.metadata.name),
        pod_uid: text(&status.pod_uid),
        container_id: text(&status.container_id),
        phase: Phase::Started,
        report: None,
    }
}
