use http::{Method, StatusCode};

use super::*;
use crate::scenario::{patient_server, server, step};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn lease_of(holder: Option<&str>) -> Lease {
    let spec = LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(4),
        acquire_time: Some(MicroTime(at(1))),
        ..LeaseSpec::default()
    };
    Lease {
        metadata: ObjectMeta {
            resource_version: Some("3".into()),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    }
}

fn what(lease: Option<Lease>, unchanged: u64) -> Turn {
    turn(lease, "me", "ns", Duration::from_secs(unchanged), at(9))
}

#[test]
fn a_lease_that_is_not_there_is_made() {
    let Turn::Create(lease) = what(None, 0) else {
        panic!("the Lease was not made");
    };
    assert_eq!(lease.metadata.name.as_deref(), Some("stillframe-operator"));
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("me"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.renew_time, Some(MicroTime(at(9))));
}

#[test]
fn a_lease_of_another_is_left_until_it_has_not_changed_for_its_duration() {
    assert_eq!(
        what(Some(lease_of(Some("other"))), 14),
        Turn::Leave("other".into())
    );
    let Turn::Replace(lease) = what(Some(lease_of(Some("other"))), 15) else {
        panic!("the Lease was not taken");
    };
    assert_eq!(
        lease.metadata.resource_version.as_deref(),
        Some("3"),
        "only if nobody was faster"
    );
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("me"));
    assert_eq!(
        (spec.lease_transitions, spec.acquire_time),
        (Some(5), Some(MicroTime(at(9))))
    );
}

#[test]
fn a_lease_that_was_given_up_is_taken_at_once() {
    for holder in [None, Some("")] {
        assert!(
            matches!(what(Some(lease_of(holder)), 0), Turn::Replace(_)),
            "{holder:?}"
        );
    }
}

#[test]
fn ones_own_lease_is_renewed_and_counts_no_transition() {
    let Turn::Replace(lease) = what(Some(lease_of(Some("me"))), 0) else {
        panic!("the Lease was not renewed");
    };
    let spec = lease.spec.unwrap();
    assert_eq!(
        (spec.lease_transitions, spec.acquire_time),
        (Some(4), Some(MicroTime(at(1))))
    );
    assert_eq!(spec.renew_time, Some(MicroTime(at(9))));
}

const FOLDER: &str = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";

fn written(holder: Option<&str>) -> serde_json::Value {
    serde_json::to_value(lease_of(holder)).unwrap()
}

fn path() -> String {
    format!("{FOLDER}/stillframe-operator")
}

#[tokio::test]
async fn a_free_lease_is_taken_in_two_requests_and_given_up_in_one() {
    let (client, server) = server(vec![
        step(Method::GET, path(), written(None)),
        step(Method::PUT, format!("{}?", path()), written(Some("me"))),
        step(Method::PUT, format!("{}?", path()), written(None)),
    ]);
    let mut elector = Elector::new(client, "ns", "me".into());
    elector.acquire().await;
    elector.release().await;
    drop(elector);
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_lead_ends_when_another_has_taken_it() {
    let (client, server) = patient_server(vec![
        step(Method::GET, path(), written(None)),
        step(Method::PUT, format!("{}?", path()), written(Some("me"))),
        step(Method::PUT, format!("{}?", path()), serde_json::Value::Null)
            .failing(StatusCode::CONFLICT, "Conflict"),
        step(Method::GET, path(), written(Some("other"))),
    ]);
    let mut elector = Elector::new(client, "ns", "me".into());
    elector.acquire().await;
    let lost = elector.hold().await;
    assert_eq!(lost.reason(), "LeadTaken");
    assert_eq!(
        lost.to_string(),
        "failed to keep the lead: other has taken it"
    );
    drop(elector);
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_lead_ends_when_the_lease_cannot_be_renewed_in_time() {
    let failing = || {
        step(Method::GET, path(), serde_json::Value::Null)
            .failing(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
    };
    let first = step(Method::PUT, format!("{}?", path()), serde_json::Value::Null)
        .failing(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
    let mut steps = vec![
        step(Method::GET, path(), written(None)),
        step(Method::PUT, format!("{}?", path()), written(Some("me"))),
        first,
    ];
    // One try per second from the fifth to the ninth; the tenth is too late.
    steps.extend((0..4).map(|_| failing()));
    let (client, server) = patient_server(steps);
    let mut elector = Elector::new(client, "ns", "me".into());
    elector.acquire().await;
    let began = Instant::now();
    assert_eq!(elector.hold().await.reason(), "LeadNotRenewed");
    assert!(began.elapsed() < LEASE, "before another may take it");
    drop(elector);
    server.await.unwrap();
}
