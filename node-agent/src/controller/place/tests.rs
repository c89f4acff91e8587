use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use stillframe_crds::Reason;

use super::*;

struct Disk {
    scratch: tempfile::TempDir,
    root: ImageRoot,
}

impl Disk {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = ImageRoot::open(&scratch.path().join("images")).unwrap();
        Self { scratch, root }
    }

    fn place(&self, path: &str) -> Place {
        self.root.place("shop", &RelativePath(path.into())).unwrap()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join("shop").join(path)
    }

    /// An image as the engine leaves it.
    fn image(&self, path: &str, uid: &str, parent: Option<&str>) -> Place {
        let place = self.place(path);
        place.reserve(&owner(uid)).unwrap();
        fs::create_dir(place.image_dir()).unwrap();
        fs::write(place.image_dir().join("inventory.img"), "x").unwrap();
        if let Some(parent) = parent {
            let link = parent_link(&place, &self.place(parent));
            symlink(link, place.image_dir().join("parent")).unwrap();
        }
        place
    }
}

fn owner(uid: &str) -> Owner {
    Owner {
        uid: uid.into(),
        namespace: "shop".into(),
        name: format!("name-of-{uid}"),
        pod_uid: "pod".into(),
        container_id: "containerd://1".into(),
        phase: Phase::Started,
        report: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_place_is_made_for_its_owner_alone() {
    let disk = Disk::new();
    let place = disk.place("nightly/counter");
    assert_eq!(place.owner().unwrap(), None);
    place.reserve(&owner("one")).unwrap();
    assert_eq!(place.owner().unwrap(), Some(owner("one")));
    assert_eq!(place.image_dir(), disk.at("nightly/counter"));
    assert_eq!(place.work_dir(), disk.at("nightly/counter.work"));
    assert_eq!(mode(&disk.at("nightly")), 0o700);
    assert_eq!(mode(&disk.at("nightly/counter.work")), 0o700);
    assert_eq!(mode(&disk.at("nightly/counter.owner")), 0o600);
    assert!(!place.image_dir().exists() && !place.finished().unwrap());
    // Again for the same object, as after a failure that may be tried again.
    place.reserve(&owner("one")).unwrap();
}

#[test]
fn a_namespace_s_complete_images_are_counted_as_their_owner_files_tell() {
    let disk = Disk::new();
    let used = |namespace: &str| disk.root.used(namespace).unwrap();
    assert_eq!(used("shop"), 0);
    let noted = |path: &str, uid: &str, size_bytes: u64| {
        let place = disk.image(path, uid, None);
        let mut owner = owner(uid);
        owner.report = Some(SavedReport {
            size_bytes,
            ..report()
        });
        place.record(&owner).unwrap();
        place
    };
    noted("a", "one", 1000);
    let two = noted("nightly/deep/b", "two", 500);
    assert_eq!(used("shop"), 1500);
    // One byte, which is all there is in it, and nothing noted.
    disk.image("c", "three", None);
    assert_eq!(used("shop"), 1501);
    // Taken, and not complete.
    disk.place("d").reserve(&owner("four")).unwrap();
    assert_eq!(used("shop"), 1501);
    assert_eq!(used("bank"), 0);
    two.remove("two").unwrap();
    assert_eq!(used("shop"), 1001);
}

fn report() -> SavedReport {
    SavedReport {
        started: Time(Timestamp::UNIX_EPOCH),
        ended: Time(Timestamp::UNIX_EPOCH),
        pause_microseconds: None,
        dump_microseconds: 0,
        publish_microseconds: 0,
        size_bytes: 0,
        files: 1,
        digest: None,
        stats: None,
        criu_version: String::new(),
        network_lock: None,
        runtime: None,
        warnings: Vec::new(),
        restorable: None,
        dedup: None,
    }
}

#[test]
fn the_place_of_another_object_is_taken() {
    let disk = Disk::new();
    disk.image("a", "one", None);
    let error = disk.place("a").reserve(&owner("two")).unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePathTaken);
    assert!(
        error.to_string().contains("shop/name-of-one (one)"),
        "{error}"
    );
    let error = disk.place("a/b").reserve(&owner("two")).unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePathTaken);
    assert!(!disk.at("a/b").exists() && !disk.at("a/b.owner").exists());
    disk.image("c/d", "one", None);
    let error = disk.place("c").reserve(&owner("two")).unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePathTaken);
    assert!(!disk.at("c.owner").exists());
}

#[test]
fn what_nobody_owns_is_neither_taken_nor_removed() {
    for name in ["x", "x.partial", "x.work"] {
        let disk = Disk::new();
        fs::create_dir_all(disk.at(name)).unwrap();
        let error = disk.place("x").reserve(&owner("one")).unwrap_err();
        assert_eq!(error.reason(), Reason::ImagePathTaken, "{name}");
        assert_eq!(disk.place("x").remove("one").unwrap(), Removed::Nothing);
        assert!(disk.at(name).is_dir());
    }
}

#[test]
fn planted_links_lead_nowhere() {
    let disk = Disk::new();
    let outside = disk.scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, disk.root.path().join("shop")).unwrap();
    let error = disk.place("x").reserve(&owner("one")).unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePathTaken);
    assert!(disk.place("x").owner().is_err() && disk.place("x").finished().is_err());
    assert!(disk.root.children_of(&disk.place("x")).is_err());
    fs::remove_file(disk.root.path().join("shop")).unwrap();

    fs::create_dir(disk.root.path().join("shop")).unwrap();
    symlink(&outside, disk.at("dir")).unwrap();
    assert!(disk.place("dir/x").reserve(&owner("one")).is_err());
    symlink(&outside, disk.at("y")).unwrap();
    assert!(disk.place("y").reserve(&owner("one")).is_err());
    assert!(!disk.place("y").finished().unwrap());
    symlink(outside.join("owner"), disk.at("z.owner")).unwrap();
    assert!(disk.place("z").reserve(&owner("one")).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn files_in_the_way_are_reported() {
    let disk = Disk::new();
    fs::write(disk.root.path().join("shop"), "").unwrap();
    let error = disk.place("x").reserve(&owner("one")).unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePathTaken);
    assert!(error.to_string().ends_with("it is no directory"), "{error}");
}

#[test]
fn a_directory_that_others_may_write_to_is_not_trusted() {
    let disk = Disk::new();
    fs::create_dir(disk.root.path().join("shop")).unwrap();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(disk.root.path().join("shop"), open.clone()).unwrap();
    let error = disk.place("x").reserve(&owner("one")).unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePathUnusable);
    let root = disk.scratch.path().join("open");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, open).unwrap();
    assert!(matches!(
        ImageRoot::open(&root),
        Err(Error::Writable { .. })
    ));
}

#[test]
fn a_directory_of_another_user_is_not_trusted() {
    let disk = Disk::new();
    let shop = disk.root.path().join("shop");
    fs::create_dir(&shop).unwrap();
    if let Err(error) = std::os::unix::fs::chown(&shop, Some(12_345), None) {
        assert!(!nix::unistd::geteuid().is_root(), "{error}");
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let error = disk.place("x").reserve(&owner("one")).unwrap_err();
    assert!(
        matches!(error, Error::Writable { uid: 12_345, .. }),
        "{error}"
    );
}

#[test]
fn hostile_owner_files_are_refused() {
    let disk = Disk::new();
    let place = disk.image("a", "one", None);
    let file = disk.at("a.owner");
    for content in ["", "{}", "[1]", "{\"uid\":1}", &"x".repeat(100_000)] {
        fs::write(&file, content).unwrap();
        assert!(place.owner().is_err(), "{}", content.len());
        assert!(place.remove("one").is_err());
        assert!(place.finished().unwrap());
    }
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(matches!(place.owner(), Err(Error::InTheWay { .. })));
}

#[test]
fn the_owner_file_is_rewritten_whole_and_by_the_owner_alone() {
    let disk = Disk::new();
    let place = disk.image("a", "one", None);
    let ended = Time(Timestamp::from_second(7).unwrap());
    let mut done = owner("one");
    done.phase = Phase::Finished;
    done.report = Some(SavedReport {
        started: ended.clone(),
        ended,
        pause_microseconds: Some(1500),
        dump_microseconds: 2,
        publish_microseconds: 3,
        size_bytes: 4,
        files: 5,
        digest: Some("sha256:0".into()),
        stats: None,
        criu_version: "4.2.1".into(),
        network_lock: None,
        runtime: None,
        warnings: vec!["w".into()],
        restorable: None,
        dedup: None,
    });
    place.record(&done).unwrap();
    assert_eq!(place.owner().unwrap(), Some(done));
    assert_eq!(mode(&disk.at("a.owner")), 0o600);
    let error = place.record(&owner("two")).unwrap_err();
    assert!(matches!(error, Error::NotOwned { .. }));
    assert!(disk.place("b").record(&owner("one")).is_err());
}

#[test]
fn removal_takes_everything_of_the_object_and_nothing_else() {
    let disk = Disk::new();
    let place = disk.image("nightly/a", "one", None);
    let other = disk.image("nightly/b", "two", None);
    fs::write(place.work_dir().join("dump.log"), "").unwrap();
    fs::create_dir(disk.at("nightly/a.partial")).unwrap();
    // Links in an image are removed, not followed.
    symlink(other.image_dir(), place.image_dir().join("parent")).unwrap();
    assert_eq!(place.remove("two").unwrap(), Removed::Nothing);
    assert!(place.finished().unwrap());
    assert_eq!(place.remove("one").unwrap(), Removed::Image);
    let mut left: Vec<_> = fs::read_dir(disk.at("nightly"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["b", "b.owner", "b.work"]);
    assert!(other.image_dir().join("inventory.img").exists());
    assert_eq!(place.remove("one").unwrap(), Removed::Nothing);
    assert_eq!(other.remove("two").unwrap(), Removed::Image);
    assert_eq!(fs::read_dir(disk.root.path()).unwrap().count(), 0);
}

#[test]
fn a_removal_that_was_cut_short_is_taken_up_again() {
    let disk = Disk::new();
    let place = disk.image("a", "one", None);
    fs::rename(disk.at("a"), disk.at("a.partial")).unwrap();
    assert!(!place.finished().unwrap());
    assert_eq!(place.remove("one").unwrap(), Removed::Leftovers);
    assert!(!disk.root.path().join("shop").exists());
}

#[test]
fn an_unfinished_image_is_discarded_and_its_log_kept() {
    let disk = Disk::new();
    let place = disk.place("a");
    place.reserve(&owner("one")).unwrap();
    fs::create_dir(disk.at("a.partial")).unwrap();
    fs::write(disk.at("a.partial/pages-1.img"), "x").unwrap();
    place.discard_partial("two").unwrap();
    assert!(disk.at("a.partial").exists());
    place.discard_partial("one").unwrap();
    assert!(!disk.at("a.partial").exists() && place.work_dir().is_dir());
}

#[test]
fn a_retained_image_keeps_its_owner_and_a_failed_dump_leaves_nothing() {
    let disk = Disk::new();
    let place = disk.image("a", "one", None);
    assert!(!place.keep("two").unwrap());
    assert!(place.keep("one").unwrap());
    assert!(place.finished().unwrap() && place.owner().unwrap().is_some());
    let failed = disk.place("b");
    failed.reserve(&owner("two")).unwrap();
    assert!(!failed.keep("two").unwrap());
    assert!(!disk.at("b.owner").exists() && !failed.work_dir().exists());
}

#[test]
fn a_chosen_work_directory_has_an_owner_of_its_own() {
    let disk = Disk::new();
    let work = RelativePath("logs/mine".into());
    let place = disk.place("a").with_work(Some(&work)).unwrap();
    place.reserve(&owner("one")).unwrap();
    assert_eq!(place.work_dir(), disk.at("logs/mine"));
    assert!(place.work_dir().is_dir() && !disk.at("a.work").exists());
    let other = disk.place("b").with_work(Some(&work)).unwrap();
    let error = other.reserve(&owner("two")).unwrap_err();
    assert_eq!(error.reason(), Reason::ImagePathTaken);
    assert!(!disk.at("b.owner").exists());
    // It is no image, and nobody's image is taken for it.
    assert!(disk.place("logs/mine").owner().is_err());
    assert!(disk.root.parent("shop", &work, "containerd://1").is_err());
    disk.image("c", "three", None);
    let onto = disk.place("d").with_work(Some(&RelativePath("c".into())));
    assert!(onto.unwrap().reserve(&owner("four")).is_err());
    place.remove("one").unwrap();
    assert!(!disk.at("logs").exists() && !disk.at("a.owner").exists());
    for inside in ["a", "a/b"] {
        let error = disk
            .place("a")
            .with_work(Some(&RelativePath(inside.into())));
        assert_eq!(error.unwrap_err().reason(), Reason::InvalidSpec);
    }
}

#[test]
fn children_are_found_by_their_links() {
    let disk = Disk::new();
    let first = disk.image("first", "1", None);
    disk.image("second", "2", Some("first"));
    disk.image("deep/er/third", "3", Some("first"));
    disk.image("fourth", "4", Some("second"));
    // One that is being written.
    let fifth = disk.place("fifth");
    fifth.reserve(&owner("5")).unwrap();
    fs::create_dir(disk.at("fifth.partial")).unwrap();
    symlink("../first", disk.at("fifth.partial/parent")).unwrap();
    // Hostile ones.
    disk.image("sixth", "6", None);
    symlink("/etc", disk.at("sixth/parent")).unwrap();
    disk.image("seventh", "7", None);
    fs::write(disk.at("seventh/parent"), "first").unwrap();
    symlink(disk.at("second"), disk.at("eighth")).unwrap();
    let children = disk.root.children_of(&first).unwrap();
    let expected = ["deep/er/third", "fifth", "second"].map(PathBuf::from);
    assert_eq!(children, expected);
    let none = disk.root.children_of(&disk.place("fourth")).unwrap();
    assert_eq!(none, Vec::<PathBuf>::new());
}

#[test]
fn a_parent_is_a_complete_image_of_the_same_container() {
    let disk = Disk::new();
    disk.image("a", "one", None);
    let parent = |path: &str, container: &str| {
        let path = RelativePath(path.into());
        disk.root.parent("shop", &path, container)
    };
    assert!(parent("a", "containerd://1").is_ok());
    let reason = |path: &str, container: &str| parent(path, container).unwrap_err().reason();
    assert_eq!(reason("a", "containerd://2"), Reason::ParentMismatch);
    assert_eq!(
        reason("nowhere", "containerd://1"),
        Reason::ParentImageMissing
    );
    disk.place("b").reserve(&owner("two")).unwrap();
    assert_eq!(reason("b", "containerd://1"), Reason::ParentImageMissing);
    fs::create_dir(disk.at("planted")).unwrap();
    assert_eq!(
        reason("planted", "containerd://1"),
        Reason::ParentImageMissing
    );
}

#[test]
fn a_tree_that_nests_without_end_is_given_up() {
    let disk = Disk::new();
    let place = disk.image("a", "one", None);
    let mut deep = place.image_dir();
    for _ in 0..40 {
        deep.push("d");
    }
    fs::create_dir_all(deep).unwrap();
    assert!(matches!(place.remove("one"), Err(Error::TooDeep { .. })));
    assert!(place.owner().unwrap().is_some());
}
