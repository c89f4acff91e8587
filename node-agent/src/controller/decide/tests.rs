use serde_json::{Value, json};

use super::*;
use crate::controller::sample::object;

const LOCAL: Local = Local {
    busy: Busy::Idle,
    holds: Holds::Nothing,
    children: Children::None,
    free: true,
    stopping: false,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn what(patch: &Value, local: Local) -> Action {
    decide(&object(patch), local, at("2026-01-01T00:01:00Z"))
}

#[test]
fn a_new_object_starts_or_waits_for_its_turn() {
    assert_eq!(what(&json!({}), LOCAL), Action::Start);
    let waits = Local {
        free: false,
        ..LOCAL
    };
    assert_eq!(what(&json!({}), waits), Action::Queue);
    let stopping = Local {
        stopping: true,
        ..LOCAL
    };
    assert_eq!(what(&json!({}), stopping), Action::Nothing);
}

#[test]
fn what_a_former_agent_left_is_adopted_or_has_failed_and_is_never_dumped_again() {
    let begun = json!({"status": {"startTime": "2026-01-01T00:00:30Z"}});
    for stopping in [false, true] {
        for patch in [&json!({}), &begun] {
            for (holds, want) in [
                (Holds::Image, Action::Adopt),
                (Holds::Started, Action::FailRestarted),
            ] {
                let local = Local {
                    holds,
                    stopping,
                    ..LOCAL
                };
                assert_eq!(what(patch, local), want, "{holds:?} {patch}");
            }
        }
    }
    assert_eq!(what(&begun, LOCAL), Action::FailRestarted);
}

#[test]
fn time_runs_out_unless_the_image_is_there() {
    let late = json!({"metadata": {"creationTimestamp": "2025-12-31T23:59:00Z"}});
    assert_eq!(what(&late, LOCAL), Action::TimeOut);
    let image = Local {
        holds: Holds::Image,
        ..LOCAL
    };
    assert_eq!(what(&late, image), Action::Adopt);
}

#[test]
fn what_runs_for_an_unwanted_object_is_called_off_once() {
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:50Z"}});
    let ended = json!({"status": {"completionTime": "2026-01-01T00:00:50Z"}});
    for (busy, wanted, unwanted) in [
        (Busy::Working, Action::Nothing, Action::Cancel),
        (Busy::Ending, Action::Nothing, Action::Nothing),
        (Busy::Removing, Action::Nothing, Action::Nothing),
    ] {
        let local = Local { busy, ..LOCAL };
        assert_eq!(what(&json!({}), local), wanted);
        assert_eq!(what(&deleted, local), unwanted);
        assert_eq!(what(&ended, local), unwanted);
    }
}

#[test]
fn a_deleted_object_s_image_goes_when_nobody_builds_on_it() {
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:50Z"}});
    let children = Local {
        children: Children::Some,
        holds: Holds::Image,
        ..LOCAL
    };
    assert_eq!(what(&deleted, LOCAL), Action::Remove);
    assert_eq!(what(&deleted, children), Action::WaitForChildren);
    let unknown = Local {
        children: Children::Unknown,
        ..children
    };
    assert_eq!(what(&deleted, unknown), Action::FailRemoval);
    let mut retained = deleted.clone();
    retained["spec"] = json!({"deletionPolicy": "Retain"});
    assert_eq!(what(&retained, children), Action::Remove);
    assert_eq!(what(&retained, unknown), Action::Remove);
    let mut removed = deleted;
    removed["status"] = json!({"conditions": [{"type": "ImageRemoved", "status": "True", "reason": "ImageDeleted",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:55Z"}]});
    assert_eq!(what(&removed, LOCAL), Action::Nothing);
    assert!(!needs_look(&object(&removed)));
}

#[test]
fn an_image_of_a_failed_checkpoint_goes_and_a_ready_one_s_stays() {
    let image = Local {
        holds: Holds::Image,
        ..LOCAL
    };
    let ended = json!({"status": {"completionTime": "2026-01-01T00:00:50Z"}});
    assert_eq!(what(&ended, image), Action::Nothing);
    assert!(!needs_look(&object(&ended)));
    let failed = json!({"status": {"completionTime": "2026-01-01T00:00:50Z",
        "failure": {"reason": "AgentNotResponding", "message": "m"}}});
    assert_eq!(what(&failed, image), Action::Discard);
    assert_eq!(what(&failed, LOCAL), Action::Nothing);
    // It is all that is left of a container that has ended.
    let mut only = failed.clone();
    only["spec"] = json!({"options": {"leaveRunning": false}});
    assert_eq!(what(&only, image), Action::Nothing);
    assert!(needs_look(&object(&failed)));
}
