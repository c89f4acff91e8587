//! Real state files, and what hostile hands may make of them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{crun, runc, *};
use crate::runtime::cgroup::Version;

const RUNC_STATE: &str = include_str!("testdata/runc-1.5.2-state.json");
const CRUN_STATUS: &str = include_str!("testdata/crun-1.28-status");
const CRUN_CONFIG: &str = include_str!("testdata/crun-1.28-config.json");

fn id() -> ContainerId {
    "app".parse().unwrap()
}

fn read_runc(value: &Value) -> Result<Container, Error> {
    runc::parse(
        Path::new("/run/runc/app"),
        &id(),
        Path::new("state.json"),
        value,
    )
}

fn read_crun(status: &Value, config: &Value) -> Result<Container, Error> {
    crun::parse(&crun::State {
        dir: Path::new("/run/crun/app"),
        id: &id(),
        status: (Path::new("status"), status),
        config: (Path::new("config.json"), config),
        hierarchies: &crun::Hierarchies::Unified,
    })
}

fn runc_state() -> Value {
    serde_json::from_str(RUNC_STATE).unwrap()
}

/// The state with the value at a JSON pointer replaced.
fn changed(pointer: &str, value: Value) -> Value {
    let mut state = runc_state();
    *state.pointer_mut(pointer).unwrap() = value;
    state
}

fn refusal(value: &Value) -> String {
    read_runc(value).unwrap_err().to_string()
}

#[test]
fn a_real_runc_state_is_read_in_full() {
    let container = read_runc(&runc_state()).unwrap();
    assert_eq!(container.flavour, Flavour::Runc);
    assert_eq!(
        container.init,
        Init {
            pid: 40,
            start_time: Some(96_447)
        }
    );
    assert_eq!(container.rootfs, Path::new("/srv/bundle/rootfs"));
    assert_eq!(container.bundle.as_deref(), Some(Path::new("/srv/bundle")));
    assert_eq!(container.annotation("org.criu.config"), Some(""));
    assert_eq!(container.annotation("a.b"), Some("c=d"));
    assert_eq!(container.annotation("absent"), None);
    let network = container.joined_namespace(NamespaceKind::Network);
    assert_eq!(network, Some(Path::new("/run/netns/ext1")));
    assert!(container.has_private(NamespaceKind::Pid));
    assert!(!container.has_private(NamespaceKind::Network));
    assert!(container.namespace(NamespaceKind::Cgroup).is_none());
    assert_eq!(container.mounts.len(), 10);
    assert_eq!(container.mounts[6].kind, MountKind::Cgroup);
    assert_eq!(container.mounts[7].destination, Path::new("/link/dir"));
    assert_eq!(container.mounts[7].kind, MountKind::Bind);
    assert_eq!(container.masked_paths.len(), 13);
    assert_eq!(
        container.devices.last().map(PathBuf::as_path),
        Some(Path::new("/dev/fuse2"))
    );
    let freezer = container.freezer_dir(Version::Hybrid);
    assert_eq!(freezer, Some(Path::new("/sys/fs/cgroup/freezer/t1")));
    assert_eq!(
        container.external_descriptors,
        ["/dev/null", "/dev/null", "/dev/null"]
    );
    assert!(!container.systemd_cgroup());
    let hook = &container.poststop[0];
    assert_eq!(hook.timeout, Some(Duration::from_secs(5)));
    assert_eq!(
        hook.env.as_deref(),
        Some(&["PATH=/usr/bin:/bin".to_owned()][..])
    );
}

#[test]
fn a_real_crun_state_is_read_in_full() {
    let status = serde_json::from_str(CRUN_STATUS).unwrap();
    let config = serde_json::from_str(CRUN_CONFIG).unwrap();
    let container = read_crun(&status, &config).unwrap();
    assert_eq!(container.flavour, Flavour::Crun);
    assert_eq!(
        container.init,
        Init {
            pid: 557,
            start_time: Some(211_724)
        }
    );
    assert_eq!(container.rootfs, Path::new("/srv/bundle/rootfs"));
    assert_eq!(container.annotation("a.b"), Some("c=d"));
    assert!(container.has_private(NamespaceKind::Pid));
    let freezer = container.freezer_dir(Version::V2);
    assert_eq!(freezer, Some(Path::new("/sys/fs/cgroup/app")));
    assert_eq!(container.external_descriptors.len(), 3);
    let binds = container
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Bind);
    let binds: Vec<&Path> = binds.map(|mount| mount.destination.as_path()).collect();
    assert_eq!(binds, [Path::new("/link/dir")]);
    assert_eq!(container.poststop[0].timeout, Some(Duration::from_secs(5)));
    assert_eq!(container.poststop[0].env, None);
}

#[test]
fn an_old_crun_status_without_start_time_is_read() {
    let mut status: Value = serde_json::from_str(CRUN_STATUS).unwrap();
    let config = serde_json::from_str(CRUN_CONFIG).unwrap();
    status["process-start-time"] = json!(0);
    assert_eq!(read_crun(&status, &config).unwrap().init.start_time, None);
    status.as_object_mut().unwrap().remove("process-start-time");
    assert_eq!(read_crun(&status, &config).unwrap().init.start_time, None);
}

#[test]
fn a_crun_cgroup_path_cannot_leave_the_hierarchy() {
    let mut status: Value = serde_json::from_str(CRUN_STATUS).unwrap();
    let config = serde_json::from_str(CRUN_CONFIG).unwrap();
    status["cgroup-path"] = json!("/../../../home");
    let error = read_crun(&status, &config).unwrap_err().to_string();
    assert!(error.contains("cgroup-path"), "{error}");
    status["cgroup-path"] = json!("");
    assert!(read_crun(&status, &config).unwrap().cgroups.is_empty());
}

/// The refusal of a state with the value at a JSON pointer replaced.
fn refused(pointer: &str, value: Value) -> String {
    refusal(&changed(pointer, value))
}

#[test]
fn a_number_that_is_no_containers_process_is_refused() {
    for pid in [
        json!(0),
        json!(1),
        json!(-1),
        json!(5_000_000),
        json!(i64::MAX),
    ] {
        let text = refused("/init_process_pid", pid);
        let expected = "invalid state.json: field init_process_pid is no process id of a container";
        assert_eq!(text, expected);
    }
    for pid in [json!("40"), json!(4.5), json!(u64::MAX), json!([40])] {
        let text = refused("/init_process_pid", pid);
        assert_eq!(
            text,
            "invalid state.json: field init_process_pid is not an integer"
        );
    }
}

#[test]
fn a_path_that_cannot_be_meant_is_refused() {
    let root = |value: &str| refused("/config/rootfs", json!(value));
    assert!(root("rootfs").ends_with("config.rootfs is not an absolute path"));
    assert!(root("/a/../b").ends_with("config.rootfs is a path with \"..\" in it"));
    assert!(root("/a\0b").ends_with("config.rootfs holds a NUL byte"));
    let cgroup = refused("/cgroup_paths/freezer", json!("t1"));
    assert!(cgroup.ends_with("cgroup_paths.freezer is not an absolute path"));
}

#[test]
fn a_field_of_the_wrong_type_is_refused_by_its_name() {
    let start = refused("/init_process_start", json!(-4));
    assert!(start.ends_with("init_process_start is not a non-negative integer"));
    let mount = refused("/config/mounts/3/destination", json!(7));
    assert!(mount.ends_with("config.mounts[3].destination is not a string"));
    let namespace = refused("/config/namespaces/1/type", json!("NEWX"));
    assert!(namespace.ends_with("config.namespaces[1].type is no namespace type"));
    assert!(refused("/config", json!([])).ends_with("config is not an object"));
    assert!(refused("/config/labels", json!({})).ends_with("config.labels is not an array"));
    assert!(refused("/config/rootfs", Value::Null).ends_with("config.rootfs is missing"));
    assert!(refusal(&json!([])).ends_with("(document) is not an object"));
}

#[test]
fn a_systemd_unit_is_named_as_runc_names_it() {
    let unit = |cgroups: Value| {
        read_runc(&changed("/config/cgroups", cgroups))
            .unwrap()
            .systemd_unit
    };
    let scope = json!({"name": "abc", "scope_prefix": "cri-containerd", "Systemd": true});
    assert_eq!(unit(scope).as_deref(), Some("cri-containerd-abc.scope"));
    let slice = json!({"name": "abc.slice", "Systemd": true});
    assert_eq!(unit(slice).as_deref(), Some("abc.slice"));
    assert_eq!(unit(json!({"name": "abc"})), None);
}

#[test]
fn ids_are_the_ones_that_runc_takes() {
    for good in ["a", "A.b-c_d+9", "...", "-x"] {
        assert_eq!(good.parse::<ContainerId>().unwrap().as_str(), good);
    }
    let text = |id: &str| id.parse::<ContainerId>().unwrap_err().to_string();
    assert_eq!(text(""), "container id cannot be empty");
    for bad in [".", "..", "../x", "a/b", "a b", "ä", "a\0", "a\n"] {
        assert_eq!(text(bad), "invalid container ID format", "{bad:?}");
    }
}

fn load_text(content: &str) -> Error {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("app")).unwrap();
    fs::write(root.path().join("app/state.json"), content).unwrap();
    load(root.path(), &id()).unwrap_err()
}

#[test]
fn broken_files_have_runcs_text_beside_ours() {
    assert_eq!(load_text("").runc_text().as_deref(), Some("EOF"));
    assert_eq!(load_text(" \n").runc_text().as_deref(), Some("EOF"));
    let half = &RUNC_STATE[..300];
    assert_eq!(
        load_text(half).runc_text().as_deref(),
        Some("unexpected EOF")
    );
    assert!(load_text("xyz").to_string().contains("app/state.json"));
    assert_eq!(load_text("null").reason(), "StateMalformed");
    let deep = "[".repeat(100_000);
    assert_eq!(load_text(&deep).reason(), "StateMalformed");
}

#[test]
fn a_missing_container_and_odd_files_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let missing = load(root.path(), &id()).unwrap_err();
    assert_eq!(missing.to_string(), "container does not exist");
    let dir = root.path().join("app");
    fs::create_dir_all(dir.join("state.json")).unwrap();
    let file = dir.join("state.json");
    let expected = format!("read {}: is a directory", file.display());
    assert_eq!(
        load(root.path(), &id()).unwrap_err().runc_text(),
        Some(expected)
    );
    fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(matches!(load(root.path(), &id()), Err(Error::Open { .. })));
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(load(root.path(), &id()), Err(Error::Open { .. })));
    fs::remove_file(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(
        load(root.path(), &id()),
        Err(Error::TooLarge { .. })
    ));
    let long: ContainerId = "a".repeat(300).parse().unwrap();
    let text = load(root.path(), &long).unwrap_err().runc_text();
    let root = root.path().display();
    assert_eq!(
        text,
        Some(format!("lstat {root}//{long}: file name too long"))
    );
}

#[test]
fn a_container_whose_process_is_gone_is_stopped() {
    let mut container = read_runc(&runc_state()).unwrap();
    container.cgroups.clear();
    container.init = Init {
        pid: 4 * 1024 * 1024,
        start_time: Some(1),
    };
    assert_eq!(container.status().unwrap(), Status::Stopped);
    // Our own number with another start time: a number that was used again.
    container.init.pid = i32::try_from(std::process::id()).unwrap();
    assert_eq!(container.status().unwrap(), Status::Stopped);
    assert!(matches!(
        guard::Guard::open(&container),
        Err(guard::Error::PidReused { .. })
    ));
}

#[test]
fn a_living_process_is_created_until_its_gate_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut container = read_runc(&runc_state()).unwrap();
    container.cgroups.clear();
    container.init = Init {
        pid: i32::try_from(std::process::id()).unwrap(),
        start_time: None,
    };
    container.state_dir = dir.path().to_owned();
    assert_eq!(container.status().unwrap(), Status::Running);
    fs::write(dir.path().join("exec.fifo"), "").unwrap();
    assert_eq!(container.status().unwrap(), Status::Created);
    let guard = guard::Guard::open(&container).unwrap();
    assert!(!guard.has_ended().unwrap());
    let error = destroy::destroy(&container, Some(&guard), Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "container still running");
    assert!(dir.path().exists());
}

/// Any JSON value of a small depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("/a/b")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every place in a document.
fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{here}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, &format!("{here}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn mutate(mut document: Value, place: prop::sample::Index, value: Value) -> Value {
    let mut places = Vec::new();
    pointers(&document, "", &mut places);
    let place: &String = place.get(&places);
    *document.pointer_mut(place).unwrap() = value;
    document
}

/// What may be relied on in every container that was not refused.
fn assert_sound(container: &Container) {
    assert!(container.init.pid > 1);
    assert!(container.rootfs.is_absolute());
    for dir in container.cgroups.values() {
        assert!(dir.is_absolute());
        assert!(
            !dir.components()
                .any(|part| part == std::path::Component::ParentDir)
        );
    }
}

proptest! {
    #[test]
    fn any_mutation_of_a_runc_state_is_read_or_refused(
        place in any::<prop::sample::Index>(),
        value in any_json(),
    ) {
        match read_runc(&mutate(runc_state(), place, value)) {
            Ok(container) => assert_sound(&container),
            Err(error) => prop_assert_eq!(error.reason(), "StateMalformed"),
        }
    }

    #[test]
    fn any_mutation_of_a_crun_state_is_read_or_refused(
        in_status in any::<bool>(),
        place in any::<prop::sample::Index>(),
        value in any_json(),
    ) {
        let mut status: Value = serde_json::from_str(CRUN_STATUS).unwrap();
        let mut config: Value = serde_json::from_str(CRUN_CONFIG).unwrap();
        if in_status {
            status = mutate(status, place, value);
        } else {
            config = mutate(config, place, value);
        }
        match read_crun(&status, &config) {
            Ok(container) => assert_sound(&container),
            Err(error) => prop_assert_eq!(error.reason(), "StateMalformed"),
        }
    }

    #[test]
    fn any_bytes_in_a_state_file_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("app")).unwrap();
        fs::write(root.path().join("app/state.json"), bytes).unwrap();
        prop_assert_eq!(load(root.path(), &id()).unwrap_err().reason(), "StateMalformed");
    }

    #[test]
    fn a_state_cut_anywhere_is_refused(length in 0..RUNC_STATE.trim_end().len()) {
        let error = load_text(RUNC_STATE.get(..length).unwrap_or_default());
        prop_assert_eq!(error.reason(), "StateMalformed");
    }

    #[test]
    fn any_id_that_is_taken_is_one_plain_name(text in ".{0,20}") {
        if let Ok(id) = text.parse::<ContainerId>() {
            let path = Path::new("/root").join(id.as_str());
            prop_assert_eq!(path.parent(), Some(Path::new("/root")));
            prop_assert_eq!(path.file_name(), Some(id.as_str().as_ref()));
        }
    }
}
