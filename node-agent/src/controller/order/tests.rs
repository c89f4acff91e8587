use serde_json::{Value, json};

use super::*;
use crate::controller::sample::object;

fn request(options: &Value) -> Request {
    asked(options, &Allowed::default())
}

fn asked(options: &Value, site: &Allowed) -> Request {
    let object = object(&json!({"spec": {"options": options}, "status": {"maxPauseSeconds": 7}}));
    let parent = RelativePath("parent".into());
    let order = Order::of(&object, Some(&parent)).unwrap();
    let dirs = Dirs {
        image: "/i".into(),
        work: "/w".into(),
        parent: order.parent.is_some().then(|| "../parent".into()),
    };
    order.request(dirs, site, Duration::from_secs(9)).unwrap()
}

#[test]
fn an_object_without_options_is_dumped_with_the_api_s_defaults() {
    let Request {
        kind,
        image,
        work_dir,
        parent,
        options,
        page_server,
        lazy_pages_for,
        status_fd,
        cgroups_mode,
        network_lock,
        ghost_limit,
        timeout,
        max_pause,
        site_config,
        unlock_after_end,
        keep,
    } = request(&json!({}));
    assert!(keep.files.is_empty());
    assert_eq!(kind, Kind::Dump);
    assert_eq!(image, Image::Publish { dir: "/i".into() });
    assert_eq!(work_dir, Some("/w".into()));
    assert_eq!((parent, page_server, status_fd), (None, None, None));
    assert_eq!(lazy_pages_for, None);
    let want = checkpoint::Options {
        leave_running: true,
        ..checkpoint::Options::default()
    };
    assert_eq!(options, want);
    assert_eq!(cgroups_mode, checkpoint::CgroupsMode::Ignore);
    assert_eq!(network_lock, checkpoint::NetworkLock::Auto);
    assert_eq!(ghost_limit, None);
    assert_eq!(timeout, Some(Duration::from_secs(9)));
    assert_eq!(max_pause, Some(Duration::from_millis(6300)));
    assert!(!site_config && unlock_after_end);
}

#[test]
fn rolling_back_begins_early_enough_to_end_within_the_bound() {
    for (seconds, want) in [
        (1, 600),
        (3, 2600),
        (10, 9000),
        (60, 59_000),
        (86_400, 86_399_000),
    ] {
        assert_eq!(patience(seconds), Duration::from_millis(want));
    }
}

#[test]
fn every_switch_arrives_under_its_own_name_and_alone() {
    type Switch = fn(&mut checkpoint::Options) -> &mut bool;
    let switches: [(&str, Switch); 8] = [
        ("tcpEstablished", |o| &mut o.tcp_established),
        ("tcpSkipInFlight", |o| &mut o.tcp_skip_in_flight),
        ("extUnixSk", |o| &mut o.ext_unix_sk),
        ("shellJob", |o| &mut o.shell_job),
        ("fileLocks", |o| &mut o.file_locks),
        ("linkRemap", |o| &mut o.link_remap),
        ("lazyPages", |o| &mut o.lazy_pages),
        ("trackMemory", |o| &mut o.track_memory),
    ];
    for (name, switch) in switches {
        let mut want = checkpoint::Options {
            leave_running: true,
            ..checkpoint::Options::default()
        };
        *switch(&mut want) = true;
        assert_eq!(request(&json!({name: true})).options, want, "{name}");
    }
    assert!(
        !request(&json!({"leaveRunning": false}))
            .options
            .leave_running
    );
    // The parents are cleared only once the image is complete.
    assert!(!request(&json!({"autoDedup": true})).options.auto_dedup);
}

#[test]
fn values_arrive() {
    assert_eq!(request(&json!({"preDump": true})).kind, Kind::PreDump);
    let parent = Some(Parent {
        path: "../parent".into(),
        latest: true,
    });
    assert_eq!(request(&json!({"parentRef": {"name": "p"}})).parent, parent);
    assert_eq!(request(&json!({"parentPath": "parent"})).parent, parent);
    let ghosts = request(&json!({"ghostLimit": "2Mi"})).ghost_limit;
    assert_eq!(ghosts, Some(2 << 20));
    let server = json!({"pageServer": {"address": "10.0.0.7", "port": 27277, "tls": false}});
    let server = request(&server).page_server.unwrap();
    assert_eq!((server.address.as_str(), server.port), ("10.0.0.7", 27_277));
    for (word, want) in [
        ("Soft", checkpoint::CgroupsMode::Soft),
        ("Full", checkpoint::CgroupsMode::Full),
        ("Strict", checkpoint::CgroupsMode::Strict),
        ("Ignore", checkpoint::CgroupsMode::Ignore),
    ] {
        assert_eq!(
            request(&json!({"manageCgroupsMode": word})).cgroups_mode,
            want
        );
    }
    for (word, want) in [
        ("Auto", checkpoint::NetworkLock::Auto),
        ("Iptables", checkpoint::NetworkLock::Iptables),
        ("Nftables", checkpoint::NetworkLock::Nftables),
        ("Skip", checkpoint::NetworkLock::Skip),
    ] {
        assert_eq!(request(&json!({"networkLock": word})).network_lock, want);
    }
}

#[test]
fn the_container_s_configuration_adds_and_never_overrides() {
    let site = Allowed {
        file_locks: Some(true),
        link_remap: Some(false),
        ghost_limit: Some(5),
        network_lock: Some(LockMethod::Skip),
        manage_cgroups: Some(SiteCgroups::Soft),
        ..Allowed::default()
    };
    let added = asked(&json!({}), &site);
    assert!(added.options.file_locks);
    assert_eq!(added.ghost_limit, Some(5));
    assert_eq!(added.network_lock, checkpoint::NetworkLock::Skip);
    assert_eq!(added.cgroups_mode, checkpoint::CgroupsMode::Soft);
    let named = json!({"linkRemap": true, "ghostLimit": "7", "networkLock": "Nftables",
                       "manageCgroupsMode": "Full"});
    let kept = asked(&named, &site);
    assert!(kept.options.link_remap);
    assert_eq!(kept.ghost_limit, Some(7));
    assert_eq!(kept.network_lock, checkpoint::NetworkLock::Nftables);
    assert_eq!(kept.cgroups_mode, checkpoint::CgroupsMode::Full);
}

#[test]
fn an_assignment_that_is_not_complete_is_refused_by_its_field() {
    for field in ["podUID", "containerName", "containerID"] {
        let object = object(&json!({"status": {field: null}}));
        let failed = Order::of(&object, None).unwrap_err();
        assert!(failed.failure.message.contains(field), "{failed:?}");
    }
}

#[test]
fn a_parent_that_this_node_does_not_have_is_refused() {
    let object = object(&json!({"spec": {"options": {"parentRef": {"name": "p"}}}}));
    let failed = Order::of(&object, None).unwrap_err();
    assert_eq!(failed.reason(), Reason::ParentImageMissing);
}

#[test]
fn a_static_pod_is_known_to_the_runtime_under_its_own_uid() {
    let plain = Order::of(&object(&json!({})), None).unwrap();
    assert_eq!(plain.sandbox_uid, "pod-1");
    let mirror = object(&json!({"status": {"sandboxUID": "hash"}}));
    assert_eq!(Order::of(&mirror, None).unwrap().sandbox_uid, "hash");
}

#[test]
fn the_deadline_counts_from_the_creation() {
    let want: Timestamp = "2026-01-01T00:02:00Z".parse().unwrap();
    assert_eq!(deadline(&object(&json!({}))), want);
}
