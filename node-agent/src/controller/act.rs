//! The work that an action is.

use futures::{FutureExt as _, future::BoxFuture};
use stillframe_crds::checkpoint::RelativePath;

use super::{
    decide::{Action, Busy},
    dump::Dumper,
    job::{Ended, Job},
    look::Look,
};

/// What a job needs to know of the object's surroundings.
#[derive(Debug)]
pub(super) struct Around {
    /// What its place holds.
    pub(super) look: Look,
    /// Where the image of its parentRef is.
    pub(super) parent: Option<RelativePath>,
    /// The images that build on its own.
    pub(super) children: Vec<String>,
}

/// The work that an action is.
pub(super) fn work<D: Dumper>(
    action: Action,
    job: Job<D>,
    around: Around,
) -> Option<(Busy, BoxFuture<'static, Ended>)> {
    let Around {
        look,
        parent,
        children,
    } = around;
    let Look {
        place,
        holds: _,
        report,
        children: seen,
        trouble,
    } = look;
    let goes = job.object.is_deleted() || job.object.is_finished();
    if let Some(failed) = trouble.filter(|_| !goes) {
        let work = async move { job.fail(&failed, None).await };
        return Some((Busy::Working, work.boxed()));
    }
    Some(match action {
        Action::Nothing | Action::Cancel => return None,
        Action::Start | Action::Queue => (Busy::Working, job.checkpoint(parent).boxed()),
        Action::Adopt => {
            let (place, report) = place.zip(report)?;
            (Busy::Working, job.adopt(place, report).boxed())
        }
        Action::FailRestarted => (Busy::Working, job.fail_restarted(place).boxed()),
        Action::TimeOut => (Busy::Working, job.time_out().boxed()),
        Action::Remove => (Busy::Removing, job.remove(place).boxed()),
        Action::Discard => (Busy::Removing, job.discard(place).boxed()),
        Action::FailRemoval => {
            let why = seen.err()?;
            let work = async move { job.not_removed(why).await };
            (Busy::Removing, work.boxed())
        }
        Action::WaitForChildren => {
            let work = async move { job.wait_for_children(&children).await };
            (Busy::Removing, work.boxed())
        }
    })
}
