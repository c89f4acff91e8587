use serde_json::{Value, json};
use stillframe_crds::checkpoint::RuntimeFacts;

use super::*;
use crate::controller::sample::object;

fn saved() -> SavedReport {
    let time = Time("2026-01-01T00:00:30Z".parse().unwrap());
    SavedReport {
        started: time.clone(),
        ended: time,
        pause_microseconds: Some(62_001),
        dump_microseconds: 1,
        publish_microseconds: 1,
        size_bytes: 5 << 20,
        files: 3,
        digest: Some("sha256:1".into()),
        stats: None,
        criu_version: "4.2".into(),
        network_lock: Some("skip".into()),
        runtime: Some(RuntimeFacts {
            name: "crun".into(),
            version: None,
        }),
        warnings: vec!["w".repeat(600); 20],
        restorable: None,
        dedup: None,
        other: None,
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

fn said<'a>(status: &'a ContainerCheckpointStatus, kind: &str) -> (&'a str, &'a str) {
    let found = condition::get(&status.conditions, kind).unwrap();
    (found.status.as_str(), found.reason.as_str())
}

fn done(options: &Value) -> ContainerCheckpointStatus {
    let object = object(&json!({"spec": {"options": options}}));
    finished(&object, "n1", Path::new("/images/shop/a"), &saved(), now())
}

#[test]
fn pauses_and_sizes_are_written_for_people() {
    for (milliseconds, text) in [
        (0, "0ms"),
        (63, "63ms"),
        (999, "999ms"),
        (1249, "1.2s"),
        (59_999, "59.9s"),
        (125_000, "2m5s"),
    ] {
        assert_eq!(pause(milliseconds), text);
    }
    for (bytes, text) in [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0Ki"),
        (5_452_596, "5.2Mi"),
        (3 << 30, "3.0Gi"),
        (u64::MAX, "16383.9Pi"),
    ] {
        assert_eq!(size(bytes), text);
    }
}

#[test]
fn a_ready_status_tells_place_pause_and_what_to_do_next() {
    let status = done(&json!({}));
    assert_eq!(said(&status, "Ready"), ("True", "Checkpointed"));
    assert_eq!(said(&status, "Complete"), ("True", "Checkpointed"));
    assert_eq!(said(&status, "Stalled").0, "False");
    let message = &condition::get(&status.conditions, "Ready").unwrap().message;
    for part in [
        "node n1",
        "/images/shop/a (5.0Mi)",
        "stood still for 63ms",
        "kubectl debug node/n1 --image=busybox:1 --profile=sysadmin -- sleep 600\n",
        "kubectl exec POD -- tar -C /host/images/shop/a -cf - . > a.tar\n",
        "crun restore --manage-cgroups-mode ignore --image-path /images/shop/a",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(status.pause.as_deref(), Some("63ms"));
    assert_eq!(status.pause_milliseconds, Some(63));
    assert_eq!(status.completion_time, Some(Time(now())));
    assert_eq!((status.warnings.len(), status.warnings[0].len()), (16, 512));
}

#[test]
fn an_image_in_two_halves_is_told_with_both() {
    let told = |server: serde_json::Value, other| {
        let saved = SavedReport { other, ..saved() };
        let object = object(&json!({"spec": {"options": {"pageServer": server}}}));
        let status = finished(&object, "n1", Path::new("/images/shop/a"), &saved, now());
        condition::get(&status.conditions, "Ready")
            .unwrap()
            .message
            .clone()
    };
    let part = Part {
        node: "n2".into(),
        path: "/images/shop/r".into(),
        size_bytes: 1 << 20,
        digest: None,
    };
    let by_receiver = told(json!({"receiverRef": {"name": "r"}}), Some(part));
    assert!(
        by_receiver
            .contains("the memory on node n2 in /images/shop/r (1.0Mi), the rest on node n1"),
        "{by_receiver}"
    );
    let by_address = told(json!({"address": "10.0.0.7", "port": 27277}), None);
    assert!(
        by_address.contains("the memory with the page server 10.0.0.7:27277, the rest"),
        "{by_address}"
    );
    for message in [by_receiver, by_address] {
        assert!(message.contains("docs/page-server.md") && !message.contains("--bundle"));
    }
}

#[test]
fn what_a_chain_saved_and_gave_back_is_told() {
    use stillframe_crds::checkpoint::{Dedup, DumpStats};
    let saved = SavedReport {
        stats: Some(DumpStats {
            pages_skipped_parent: 90,
            shpages_skipped_parent: 5,
            pages_written: 4,
            shpages_written: 1,
            ..DumpStats::default()
        }),
        dedup: Some(Dedup {
            bytes_freed: 1 << 20,
        }),
        ..saved()
    };
    let options = json!({"parentRef": {"name": "p"}, "autoDedup": true});
    let object = object(&json!({"spec": {"options": options}}));
    let status = finished(&object, "n1", Path::new("/images/shop/a"), &saved, now());
    let message = &condition::get(&status.conditions, "Ready").unwrap().message;
    let told = "95 of its 100 pages are in the image that it builds on; \
                autoDedup has given 1.0Mi of those back to the disk.\n";
    assert!(message.contains(told), "{message}");
    assert_eq!(status.dedup.unwrap().bytes_freed, 1 << 20);
}

#[test]
fn whether_it_can_be_restored_is_told_and_may_change_later() {
    let verdict = |holds| Verdict {
        holds,
        message: "with this".into(),
    };
    for (holds, word) in [(true, "NothingMissing"), (false, "PartsMissing")] {
        let saved = SavedReport {
            restorable: Some(verdict(holds)),
            ..saved()
        };
        let object = object(&json!({}));
        let status = finished(&object, "n1", Path::new("/images/shop/a"), &saved, now());
        let expected = if holds { "True" } else { "False" };
        assert_eq!(said(&status, "Restorable"), (expected, word));
        let mut later = object;
        later.status = Some(status.clone());
        let changed = deduplicated(&later, "child", now());
        assert_eq!(said(&changed, "Restorable"), ("False", "PagesRemoved"));
        let message = &condition::get(&changed.conditions, "Restorable")
            .unwrap()
            .message;
        assert!(
            message.contains("checkpoint child (autoDedup)"),
            "{message}"
        );
        // Nothing else of a final status does.
        let others = |status: &ContainerCheckpointStatus| {
            let mut status = status.clone();
            status.conditions.retain(|c| c.type_ != "Restorable");
            status
        };
        assert_eq!(others(&changed), others(&status));
    }
    assert!(condition::get(&done(&json!({})).conditions, "Restorable").is_none());
}

#[test]
fn no_path_does_anything_in_the_shell_that_it_is_pasted_into() {
    for (path, word) in [
        ("/i/plain-1.2_x", "/host/i/plain-1.2_x"),
        ("/i/x; touch pwned #", "'/host/i/x; touch pwned #'"),
        ("/i/a$(id)b", "'/host/i/a$(id)b'"),
        ("/i/it's", "\"/host/i/it's\""),
    ] {
        let line = format!("tar -C {word} -cf - .");
        let text = fetch("n1", path, "a");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[test]
fn lazy_pages_are_told_of_as_long_as_they_are_served() {
    let options = json!({"lazyPages": true, "lazyPeers": ["10.0.0.8"],
                         "pageServer": {"address": "0.0.0.0", "port": 27277}});
    let mut object = object(&json!({"spec": {"options": options}}));
    let mut served = LazyPages {
        address: Some("10.0.0.7".into()),
        port: 27_277,
        path: "/images/shop/a.partial".into(),
    };
    let status = serving(&object, &served, now());
    assert_eq!(said(&status, LAZY_PAGES_READY), ("True", "LazyPagesServed"));
    let message = |status: &ContainerCheckpointStatus, kind| {
        let found = condition::get(&status.conditions, kind).unwrap();
        found.message.clone()
    };
    let told = message(&status, LAZY_PAGES_READY);
    assert!(told.contains("from 10.0.0.7 port 27277; "), "{told}");
    assert!(told.contains(" in /images/shop/a.partial,"), "{told}");
    assert_eq!(status.lazy_pages, Some(served.clone()));
    object.status = Some(status);
    let path = Path::new("/images/shop/a");
    let status = finished(&object, "n1", path, &saved(), now());
    assert_eq!(said(&status, LAZY_PAGES_READY), ("False", "NotServing"));
    let ready = message(&status, "Ready");
    assert!(
        ready.contains("nothing can be restored from it alone"),
        "{ready}"
    );
    assert!(!ready.contains(" restore --image-path"), "{ready}");
    let reset = Failure {
        reason: "LazyPagesNotFetched".into(),
        ..Failure::default()
    };
    let status = failed(&object, &reset, Some(5), now());
    assert_eq!(said(&status, LAZY_PAGES_READY), ("False", "NotServing"));
    // An agent that does not know its address tells the port.
    served.address = None;
    let told = message(&serving(&object, &served, now()), LAZY_PAGES_READY);
    assert!(told.contains("from port 27277; "), "{told}");
}

#[test]
fn a_pre_dump_and_a_last_dump_say_what_they_are() {
    assert_eq!(
        said(&done(&json!({"preDump": true})), "Ready").1,
        "PreDumped"
    );
    let status = done(&json!({"leaveRunning": false}));
    let message = &condition::get(&status.conditions, "Ready").unwrap().message;
    assert!(message.contains("the container has ended"), "{message}");
}

#[test]
fn a_failed_status_tells_cause_pause_hint_and_log() {
    let failure = Failure {
        reason: "FileLocks".into(),
        message: "x".repeat(5000),
        hint: Some("set options.fileLocks to true".into()),
        log_path: Some("/images/shop/a.work/dump.log".into()),
        ..Failure::default()
    };
    let status = failed(&object(&json!({})), &failure, Some(12), now());
    assert_eq!(said(&status, "Ready"), ("False", "FileLocks"));
    assert_eq!(said(&status, "Stalled"), ("True", "FileLocks"));
    assert_eq!(said(&status, "Complete").0, "True");
    assert_eq!(status.failure.as_ref().unwrap().message.len(), 2048);
    let short = Failure {
        message: "it holds locks".into(),
        ..failure
    };
    let status = failed(&object(&json!({})), &short, Some(12), now());
    let message = &condition::get(&status.conditions, "Ready").unwrap().message;
    let want = "it holds locks. The container stood still for 12ms. Hint: set options.fileLocks to true. \
                CRIU's log: /images/shop/a.work/dump.log on node n1";
    assert_eq!(message, want);
}

#[test]
fn a_word_that_is_no_reason_becomes_an_internal_error() {
    let failure = Failure {
        reason: "Nonsense".into(),
        ..Failure::default()
    };
    let status = failed(&object(&json!({})), &failure, None, now());
    assert_eq!(status.failure.unwrap().reason, "InternalError");
}

#[test]
fn the_start_is_that_of_the_first_attempt() {
    let begun = object(&json!({"status": {"startTime": "2026-01-01T00:00:10Z"}}));
    let status = dumping(&begun, 2, now());
    assert_eq!(status.attempts, 2);
    assert_eq!(status.start_time, begun.status.unwrap().start_time);
    assert_eq!(said(&status, "Reconciling"), ("True", "Dumping"));
}

#[test]
fn a_removal_changes_nothing_else_of_a_final_status() {
    let ended =
        object(&json!({"status": {"completionTime": "2026-01-01T00:00:50Z", "pause": "1ms"}}));
    let status = removal(&ended, true, Reason::ImageDeleted, "gone", now());
    assert_eq!(said(&status, "ImageRemoved"), ("True", "ImageDeleted"));
    let mut before = ended.status.unwrap();
    before.conditions.clone_from(&status.conditions);
    assert_eq!(before, status);
}
