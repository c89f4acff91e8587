//! One try at a dump: look, reserve, say so, dump.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use stillframe_crds::{
    ContainerCheckpoint, Reason,
    checkpoint::{LazyPages, Part},
};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::{
    dump::{Bounds, Dumper, Notes},
    failed::{Failed, chain},
    job::{Halt, Job, Wish, owner_of, wanted},
    lazy,
    order::{Dirs, Order},
    place::{self, Owner, Place, SavedReport},
    receipt::Receipt,
    report,
    salvage::partial,
};
use crate::{
    checkpoint::Step,
    criu::{Cancel, Why},
};

/// Why a try came to nothing.
#[derive(Debug)]
pub(super) enum Broken {
    /// For good.
    For(Halt),
    /// The container never stood still, and it may go well the next time.
    Harmless(Failed),
}

impl From<Halt> for Broken {
    fn from(halt: Halt) -> Self {
        Self::For(halt)
    }
}

impl From<Failed> for Broken {
    fn from(failed: Failed) -> Self {
        if failed.retryable {
            Self::Harmless(failed)
        } else {
            Self::For(failed.into())
        }
    }
}

/// A try.
#[derive(Debug)]
pub(super) struct Attempt<'a, D: Dumper> {
    pub(super) job: &'a mut Job<D>,
    pub(super) order: &'a Arc<Order>,
    pub(super) place: &'a Place,
    /// From 1.
    pub(super) number: u32,
}

/// What is known of a dump that has failed.
#[derive(Debug)]
struct Fault {
    failed: Failed,
    /// The container has stood still, for so long at most.
    stood: Option<Duration>,
}

impl<D: Dumper> Attempt<'_, D> {
    /// Tries.
    pub(super) async fn run(self) -> Result<SavedReport, Broken> {
        let context = Arc::clone(&self.job.context);
        let order = Arc::clone(self.order);
        let look = move || context.dumper.find(&order);
        let found = self.job.unless_called_off(blocking(look)).await??;
        let owner = owner_of(&self.job.object);
        let parent = self.reserve(&owner).await?;
        let number = self.number;
        let said = self.job.say(|object: &ContainerCheckpoint| {
            wanted(object).then(|| report::dumping(object, number, Timestamp::now()))
        });
        if let Err(halt) = said.await {
            self.release().await;
            return Err(halt.into());
        }
        let dirs = Dirs {
            image: self.place.image_dir(),
            work: self.place.work_dir(),
            parent,
        };
        self.dump(found, owner, dirs).await
    }

    /// Takes the place, and says how its parent is reached from there.
    async fn reserve(&self, owner: &Owner) -> Result<Option<PathBuf>, Failed> {
        let context = &self.job.context;
        let (images, order, owner) = (
            context.images.clone(),
            Arc::clone(self.order),
            owner.clone(),
        );
        let reserved = context.blocking(self.place, move |place| {
            let parent = order.parent.as_ref();
            let parent = parent
                .map(|path| images.parent(&order.namespace, path, &order.container_id))
                .transpose()?;
            place.reserve(&owner)?;
            Ok(parent.map(|parent| place::parent_link(place, &parent)))
        });
        Ok(reserved.await?)
    }

    /// Gives the place back, which nothing has been written to.
    async fn release(&self) {
        let (context, uid) = (&self.job.context, self.order.uid.clone());
        if let Err(error) = context
            .blocking(self.place, move |place| place.remove(&uid))
            .await
        {
            warn!(error = chain(&error), "could not give an image path back");
        }
    }

    async fn dump(
        mut self,
        found: D::Found,
        owner: Owner,
        dirs: Dirs,
    ) -> Result<SavedReport, Broken> {
        let timeout = self.job.time_left()?;
        let cancel = Cancel::new().map_err(|error| {
            let message = format!("failed to make a token for cancelling: {error}");
            Failed::of(Reason::InternalError, message)
        })?;
        let bounds = Bounds {
            timeout,
            cancel: cancel.clone(),
        };
        let (steps, mut heard) = mpsc::unbounded_channel();
        let (context, order) = (Arc::clone(&self.job.context), Arc::clone(self.order));
        let place = self.place.clone();
        let receipt = self.receipt(&cancel);
        let mut running = tokio::task::spawn_blocking(move || {
            let mut notes = Pad {
                place,
                owner,
                steps,
                stopped: None,
                stood: None,
                receipt,
                other: None,
            };
            let done = context
                .dumper
                .dump(&order, &found, dirs, &bounds, &mut notes);
            let done = done.map(|saved| SavedReport {
                other: notes.other.clone(),
                ..saved
            });
            done.map_err(|failed| Fault {
                failed,
                stood: notes.stood(),
            })
        });
        let mut wishes = self.job.wishes.clone();
        let mut called_off = None;
        let done = loop {
            tokio::select! {
                done = &mut running => break done,
                wish = called(&mut wishes), if called_off.is_none() => {
                    called_off = Some(wish);
                    cancel.trigger(match wish {
                        Wish::AgentEnds => Why::Terminated,
                        Wish::GoOn | Wish::Withdrawn => Why::Withdrawn,
                    });
                }
                Some(step) = heard.recv() => self.heard(step).await,
            }
        };
        match done {
            Ok(Ok(saved)) => Ok(saved),
            Ok(Err(fault)) => Err(Self::broken(fault, called_off)),
            Err(error) => {
                let message = format!("the dump's thread ended: {error}");
                Err(Failed::of(Reason::InternalError, message).into())
            }
        }
    }

    /// What is to be asked for about the memory, where a receiver has it.
    fn receipt(&self, cancel: &Cancel) -> Option<Receipt> {
        let server = self.order.server.as_ref()?.receiver.clone()?;
        Some(Receipt {
            client: self.job.context.writer.client().clone(),
            namespace: self.order.namespace.clone(),
            server,
            cancel: cancel.clone(),
            runtime: tokio::runtime::Handle::current(),
        })
    }

    /// Lazy pages are the one step that others wait for.
    async fn heard(&mut self, step: Step) {
        let Some(offer) = self.offer().filter(|_| step == Step::Serving) else {
            return;
        };
        let say = |object: &ContainerCheckpoint| {
            wanted(object).then(|| report::serving(object, &offer, Timestamp::now()))
        };
        let writer = self.job.context.writer.clone();
        if let Ok(super::status::Written::Stored(object)) =
            writer.write(&*self.job.object, say).await
        {
            self.job.object = object;
        }
    }

    /// Where lazy pages are to be fetched, if there are any.
    fn offer(&self) -> Option<LazyPages> {
        let server = self.order.server.as_ref();
        let server = server.filter(|_| self.order.options.lazy_pages)?;
        let address = lazy::told(server, self.job.context.address);
        Some(LazyPages {
            address: address.map(|address| address.to_string()),
            port: server.port,
            path: partial(&self.place.image_dir()).display().to_string(),
        })
    }

    fn broken(fault: Fault, called_off: Option<Wish>) -> Broken {
        let Fault { failed, stood } = fault;
        let stood_for = stood.map(|stood| i64::try_from(stood.as_millis()).unwrap_or(i64::MAX));
        match called_off {
            Some(Wish::Withdrawn | Wish::GoOn) => Broken::For(Halt::CalledOff),
            Some(Wish::AgentEnds) => {
                let message = "the agent was told to end while it dumped; the container goes on";
                let mut stopping = Failed::of(Reason::AgentStopping, message);
                stopping.failure.log_path = failed.failure.log_path;
                Broken::For(Halt::Failed(stopping, stood_for))
            }
            None if stood.is_none() && failed.retryable => Broken::Harmless(failed),
            None => Broken::For(Halt::Failed(failed, stood_for)),
        }
    }
}

/// What the job is told, once that is anything but to go on.
pub(super) async fn called(wishes: &mut watch::Receiver<Wish>) -> Wish {
    let told = wishes.wait_for(|wish| *wish != Wish::GoOn).await;
    told.map_or(Wish::Withdrawn, |wish| *wish)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            let message = format!("a thread ended: {error}");
            Err(Failed::of(Reason::InternalError, message))
        })
}

/// Takes down how a dump goes.
struct Pad {
    place: Place,
    owner: Owner,
    steps: mpsc::UnboundedSender<Step>,
    stopped: Option<Instant>,
    stood: Option<Duration>,
    receipt: Option<Receipt>,
    /// The other half of the image.
    other: Option<Part>,
}

impl Pad {
    /// How long the container has stood still, if it has.
    fn stood(&self) -> Option<Duration> {
        self.stood.or(self.stopped.map(|since| since.elapsed()))
    }
}

impl Notes for Pad {
    fn step(&mut self, step: Step) {
        match step {
            Step::Freezing => self.stopped = Some(Instant::now()),
            Step::Released => self.stood = self.stopped.map(|since| since.elapsed()),
            Step::Requested
            | Step::Dumping
            | Step::Dumped
            | Step::Serving
            | Step::Publishing
            | Step::Done(_) => {}
        }
        // Nobody listens any more once the agent ends.
        let _ = self.steps.send(step);
    }

    fn confirm(&mut self, until: Option<Instant>) -> Result<(), String> {
        if let Some(receipt) = &self.receipt {
            self.other = Some(receipt.wait(until)?);
        }
        Ok(())
    }

    fn complete(&mut self, report: &SavedReport) {
        self.owner.report = Some(SavedReport {
            other: self.other.clone(),
            ..report.clone()
        });
        if let Err(error) = self.place.record(&self.owner) {
            warn!(error = chain(&error), "could not note a complete image");
        }
    }
}
