use super::*;

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
