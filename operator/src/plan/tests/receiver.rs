//! A checkpoint and the receiver that it names.

use stillframe_crds::{
    PageReceiver, PageReceiverSpec, Reason,
    checkpoint::{PageServer, PinnedServer},
    condition::{self, Said},
    receiver::{PageReceiverStatus, Sender},
};

use super::*;
use crate::fixtures::{assigned, at, checkpoint, object_name, time};

fn naming(mut checkpoint: ContainerCheckpoint) -> ContainerCheckpoint {
    checkpoint.spec.options.page_server = Some(PageServer {
        address: None,
        port: None,
        tls: true,
        receiver_ref: Some(object_name("pages")),
    });
    checkpoint
}

fn receiver(of: Option<&str>, listens: bool) -> PageReceiver {
    let mut receiver = PageReceiver::new("pages", PageReceiverSpec::default());
    receiver.metadata.uid = Some("r".into());
    let mut status = PageReceiverStatus {
        checkpoint: of.map(|name| Sender {
            name: name.into(),
            uid: format!("uid-of-{name}"),
            node_name: "node-1".into(),
        }),
        ..PageReceiverStatus::default()
    };
    if listens {
        status.node_name = Some("node-2".into());
        status.address = Some("10.0.0.2".into());
        status.port = Some(4711);
        let said = Said {
            holds: true,
            reason: Reason::Listening,
            message: "m".into(),
        };
        let kind = condition::LISTENING;
        condition::set(&mut status.conditions, kind, &said, None, at(1));
    }
    receiver.status = Some(status);
    receiver
}

fn with(receiver: Option<PageReceiver>) -> Surroundings {
    Surroundings {
        receiver: receiver.map(Box::new),
        ..around()
    }
}

#[test]
fn a_receiver_is_claimed_waited_for_and_pinned() {
    let mut deleted = receiver(Some("one"), true);
    deleted.metadata.deletion_timestamp = Some(time(2));
    let mut ended = receiver(Some("one"), true);
    ended.status.as_mut().unwrap().completion_time = Some(time(2));
    for (found, want) in [
        (None, "WaitingForReceiver"),
        (Some(receiver(None, false)), "claim"),
        (Some(receiver(None, true)), "claim"),
        (Some(receiver(Some("one"), false)), "WaitingForReceiver"),
        (Some(receiver(Some("one"), true)), "assign"),
        (Some(receiver(Some("two"), true)), "ReceiverTaken"),
        (Some(deleted), "ReceiverNotReady"),
        (Some(ended), "ReceiverNotReady"),
    ] {
        let made = decide(&naming(checkpoint("one")), &with(found), 5);
        assert_eq!(word(&made), want);
    }
    let made = decide(
        &naming(checkpoint("one")),
        &with(Some(receiver(Some("one"), true))),
        5,
    );
    let pinned = PinnedServer {
        receiver: "pages".into(),
        receiver_uid: "r".into(),
        node_name: "node-2".into(),
        address: "10.0.0.2".into(),
        port: 4711,
        tls: true,
    };
    assert_eq!(status_of(&made).page_server.as_ref(), Some(&pinned));
}

#[test]
fn a_receiver_is_not_waited_for_beyond_the_deadline_nor_claimed_for_nothing() {
    for (found, want) in [
        (None, "ReceiverNotFound"),
        (Some(receiver(Some("one"), false)), "ReceiverNotReady"),
    ] {
        let made = decide(&naming(checkpoint("one")), &with(found), 120);
        assert_eq!(word(&made), want);
    }
    let gone = Surroundings {
        pod: None,
        ..with(Some(receiver(None, false)))
    };
    assert_eq!(
        word(&decide(&naming(checkpoint("one")), &gone, 5)),
        "PodNotFound"
    );
}

#[test]
fn the_receiver_goes_with_its_checkpoint() {
    let mut going = naming(assigned("one"));
    let status = going.status.as_mut().unwrap();
    status.page_server = Some(PinnedServer {
        receiver: "pages".into(),
        receiver_uid: "r".into(),
        ..PinnedServer::default()
    });
    let said = Said {
        holds: true,
        reason: Reason::ImageDeleted,
        message: "m".into(),
    };
    let kind = condition::IMAGE_REMOVED;
    let mut removed = going.clone();
    let conditions = &mut removed.status.as_mut().unwrap().conditions;
    condition::set(conditions, kind, &said, None, at(1));
    let mut kept = removed.clone();
    kept.spec.deletion_policy = stillframe_crds::checkpoint::DeletionPolicy::Retain;
    for (mut object, exists, receiver, want) in [
        (going.clone(), true, Receiver::There, "nothing"),
        (going, false, Receiver::There, "delete receiver"),
        (removed.clone(), true, Receiver::There, "delete receiver"),
        (removed.clone(), true, Receiver::Going, "nothing"),
        (removed, true, Receiver::Gone, "drop"),
        (kept, true, Receiver::There, "drop"),
    ] {
        object.metadata.deletion_timestamp = Some(time(2));
        let policy = object.spec.deletion_policy;
        let looked = matches!(look(&object), Look::Leaving(..));
        assert_eq!(
            looked,
            want != "drop" || receiver == Receiver::Gone,
            "{policy:?}"
        );
        let around = Around::Leaving { exists, receiver };
        assert_eq!(
            word(&plan(&object, &around, at(5))),
            want,
            "{exists} {receiver:?}"
        );
    }
}
