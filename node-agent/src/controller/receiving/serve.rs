//! One receiver from its assignment to its last word in the status.

use std::{net::SocketAddr, path::Path, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use stillframe_crds::{PageReceiver, Reason, checkpoint::Failure, receiver::PageReceiverStatus};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::{Context, Ended, decide::image_path, reference, report, time_left};
use crate::{
    controller::{
        disk::{self, Space},
        failed::{Failed, chain},
        failure,
        place::{Owner, Phase, Place, SavedReport},
        status::Written,
    },
    criu::{Cancel, Why},
    receive::{self, Observer, Report, Request},
};

/// What is heard of a transfer.
#[derive(Debug)]
enum News {
    Listening(SocketAddr),
}

/// Receives, and says what came of it.
pub(super) async fn serve(
    context: &Arc<Context>,
    object: Box<PageReceiver>,
    cancel: Cancel,
) -> Ended {
    match attempt(context, &object, &cancel).await {
        Ok((place, saved)) => {
            info!(
                object = reference(&object),
                bytes = saved.size_bytes,
                "received"
            );
            let path = place.image_dir();
            let say = |object: &PageReceiver| {
                wanted(object).then(|| report::received(object, &path, &saved, Timestamp::now()))
            };
            write(context, &object, say).await
        }
        // Nobody wants to hear of it: it was deleted, or somebody else has ended it.
        Err(_) if cancel.why() == Some(Why::Withdrawn) => Ended::default(),
        Err(failed) => {
            let failure = match cancel.why() {
                Some(_) => failure::new(Reason::AgentStopping, None),
                None => *failed.failure,
            };
            warn!(
                object = reference(&object),
                reason = failure.reason,
                error = failure.message,
                "received nothing"
            );
            let say = |object: &PageReceiver| {
                wanted(object).then(|| report::failed(object, &failure, Timestamp::now()))
            };
            write(context, &object, say).await
        }
    }
}

/// Whether anything but a removal is still to be said of an object.
fn wanted(object: &PageReceiver) -> bool {
    !object.is_finished() && !object.is_deleted()
}

async fn write(
    context: &Context,
    object: &PageReceiver,
    say: impl Fn(&PageReceiver) -> Option<PageReceiverStatus> + Send,
) -> Ended {
    match context.writer.write(object, say).await {
        Ok(Written::Stored(_) | Written::Unwanted(_) | Written::Gone) => {}
        Err(error) => {
            warn!(
                object = reference(object),
                error = chain(&error),
                "cannot write a status"
            );
        }
    }
    Ended::default()
}

async fn attempt(
    context: &Arc<Context>,
    object: &PageReceiver,
    cancel: &Cancel,
) -> Result<(Place, SavedReport), Failed> {
    let namespace = object.namespace().unwrap_or_default();
    let place = context.images.place(&namespace, &image_path(object))?;
    let owner = owner_of(object);
    let there = {
        let (place, uid) = (place.clone(), owner.uid.clone());
        blocking(move || left_by_a_former_agent(&place, &uid)).await?
    };
    if let Some(saved) = there {
        return Ok((place, saved));
    }
    let request = request(context, object, &place)?;
    {
        let (context, place, owner) = (Arc::clone(context), place.clone(), owner.clone());
        blocking(move || {
            let space = Space::of(context.images.path())
                .map_err(|error| Failed::of(error.reason(), chain(&error)))?;
            // How much will come nobody can tell before.
            disk::fits(space, context.reserve, 0)
                .map_err(|error| Failed::of(error.reason(), chain(&error)))?;
            Ok(place.reserve(&owner)?)
        })
        .await?;
    }
    let saved = transfer(context, object, &place, owner, request, cancel).await?;
    Ok((place, saved))
}

/// What a former agent has received and not reported. What it only began is put away, and has failed.
fn left_by_a_former_agent(place: &Place, uid: &str) -> Result<Option<SavedReport>, Failed> {
    let Some(owner) = place.owner()?.filter(|owner| owner.uid == uid) else {
        return Ok(None);
    };
    if place.finished()?
        && let Some(saved) = owner.report
    {
        return Ok(Some(saved));
    }
    place.discard_partial(uid)?;
    Err(failure::new(Reason::AgentRestarted, None).into())
}

fn request(context: &Context, object: &PageReceiver, place: &Place) -> Result<Request, Failed> {
    let Some(address) = context.address else {
        return Err(failure::new(Reason::ReceivingNotAllowed, None).into());
    };
    let keys = context.keys.as_ref();
    if object.spec.tls && keys.is_none() {
        let message = "spec.tls is on and this node's agent has no keys";
        return Err(Failed::of(Reason::PageServerKeysMissing, message));
    }
    Ok(Request {
        listen: SocketAddr::new(address, 0),
        from: Vec::new(),
        image: place.image_dir(),
        work_dir: Some(place.work_dir()),
        // The authority's signature is what a sender needs: nodes may have several addresses.
        tls: keys.filter(|_| object.spec.tls).map(|keys| keys.tls(false)),
        timeout: Some(time_left(object, Timestamp::now())),
    })
}

/// Receives in a thread of its own, which may wait for long, and tells where it listens meanwhile.
async fn transfer(
    context: &Arc<Context>,
    object: &PageReceiver,
    place: &Place,
    owner: Owner,
    request: Request,
    cancel: &Cancel,
) -> Result<SavedReport, Failed> {
    let (tell, mut news) = mpsc::unbounded_channel();
    let (done, mut end) = oneshot::channel();
    let mut pad = Pad {
        place: place.clone(),
        owner,
        started: Time(Timestamp::now()),
        tell,
    };
    let (launch, token) = (context.launch.clone(), cancel.clone());
    let thread = std::thread::Builder::new().name("receive".to_owned());
    let started = thread.spawn(move || {
        let received = receive::run(&launch, &request, &token, &mut pad);
        let saved = received.map(|report| pad.finished(&report));
        // Nobody listens any more once the agent has ended.
        let _ = done.send(saved);
    });
    started.map_err(|error| {
        let message = format!("failed to start a thread: {error}");
        Failed::of(Reason::InternalError, message)
    })?;
    loop {
        tokio::select! {
            Some(News::Listening(address)) = news.recv() => {
                let say = |object: &PageReceiver| {
                    wanted(object).then(|| report::listening(object, address, Timestamp::now()))
                };
                write(context, object, say).await;
            }
            saved = &mut end => return match saved {
                Ok(Ok(saved)) => Ok(saved),
                Ok(Err(error)) => Err(failed(&error, &place.work_dir()).into()),
                Err(_) => Err(Failed::of(Reason::InternalError, "the receiver's thread ended")),
            },
        }
    }
}

/// Why nothing was received, as the API has it.
fn failed(error: &receive::Error, work_dir: &Path) -> Failure {
    let log = work_dir.join("page-server.log");
    let shown = error.log().is_some() && log.is_file();
    Failure {
        log_path: shown.then(|| log.display().to_string()),
        ..failure::of_receiving(error)
    }
}

/// Takes down how a transfer goes.
#[derive(Debug)]
struct Pad {
    place: Place,
    owner: Owner,
    started: Time,
    tell: mpsc::UnboundedSender<News>,
}

impl Pad {
    fn saved(&self, report: &Report) -> SavedReport {
        SavedReport {
            started: self.started.clone(),
            ended: Time(Timestamp::now()),
            pause_microseconds: None,
            dump_microseconds: report.microseconds,
            publish_microseconds: 0,
            size_bytes: report.size_bytes,
            files: report.files,
            digest: Some(report.digest.clone()),
            stats: None,
            criu_version: String::new(),
            network_lock: None,
            runtime: None,
            warnings: Vec::new(),
            restorable: None,
            dedup: None,
            other: None,
        }
    }

    fn note(&mut self, phase: Phase, report: &Report) -> SavedReport {
        let saved = self.saved(report);
        self.owner.phase = phase;
        self.owner.report = Some(saved.clone());
        if let Err(error) = self.place.record(&self.owner) {
            warn!(error = chain(&error), "could not note what was received");
        }
        saved
    }

    fn finished(&mut self, report: &Report) -> SavedReport {
        self.note(Phase::Finished, report)
    }
}

impl Observer for Pad {
    fn listening(&mut self, address: SocketAddr) {
        let _ = self.tell.send(News::Listening(address));
    }

    fn refused(&mut self, peer: SocketAddr, why: &str) {
        warn!(%peer, why, "somebody was passed over");
    }

    fn complete(&mut self, report: &Report) {
        self.note(Phase::Started, report);
    }
}

/// The object as the owner of its place.
fn owner_of(object: &PageReceiver) -> Owner {
    Owner {
        uid: object.uid().unwrap_or_default(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        pod_uid: String::new(),
        container_id: String::new(),
        phase: Phase::Started,
        report: None,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // A thread ends early only in a panic, which is ours.
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}
