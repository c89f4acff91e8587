//! Upper directories as overlayfs leaves them and as a workload can make them, archived, and unpacked by the real `tar`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    process::Command,
    time::Duration,
};

use nix::{
    sys::stat::{SFlag, mknod},
    unistd::mkfifo,
};

use super::*;

const NEVER: Limits<'static> = Limits {
    until: None,
    called_off: &|| false,
    most: u64::MAX,
};

struct Scene {
    scratch: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for dir in ["upper", "unpacked"] {
            fs::create_dir(scratch.path().join(dir)).unwrap();
        }
        Self { scratch }
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.scratch.path().join("upper").join(path)
    }

    fn file(&self, path: impl AsRef<Path>, content: &[u8]) {
        fs::write(self.at(path), content).unwrap();
    }

    fn dir(&self, path: impl AsRef<Path>) {
        fs::create_dir(self.at(path)).unwrap();
    }

    fn mark(&self, path: &str, name: &str, value: &[u8]) {
        xattr::set(self.at(path), format!("user.overlay.{name}"), value).unwrap();
    }

    fn upper(&self) -> Upper {
        Upper::open(&self.at(""), Marks::User).unwrap()
    }

    /// Archives the directory and has `tar` unpack it.
    fn unpack(&self) -> (Written, PathBuf) {
        let archive = self.scratch.path().join(FILE);
        let written = self.upper().write(File::create(&archive).unwrap(), &NEVER);
        let written = written.unwrap();
        assert_eq!(written.bytes, fs::metadata(&archive).unwrap().len());
        let to = self.scratch.path().join("unpacked");
        let out = Command::new("tar")
            .args([
                "--warning=no-timestamp",
                "--xattrs",
                "--xattrs-include=user.*",
            ])
            .args(["--no-same-owner", "-xpf"])
            .arg(&archive)
            .arg("-C")
            .arg(&to)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && said.is_empty(), "{said}");
        (written, to)
    }
}

#[test]
fn what_was_removed_and_hidden_becomes_the_marks_of_a_layer() {
    let scene = Scene::new();
    scene.dir("etc");
    scene.file("etc/changed", b"new");
    mknod(&scene.at("etc/gone"), SFlag::S_IFCHR, fs_mode(), 0).unwrap();
    scene.file("etc/gone-too", b"");
    scene.mark("etc/gone-too", "whiteout", b"y");
    scene.dir("cache");
    scene.mark("cache", "opaque", b"y");
    scene.mark("cache", "origin", b"\0\x01");
    scene.file("cache/kept", b"k");
    xattr::set(scene.at("cache/kept"), "user.mine", b"a\nb=c").unwrap();
    let (written, to) = scene.unpack();
    assert_eq!(written.warnings, Vec::<String>::new());
    let empty = |path: &str| fs::metadata(to.join(path)).unwrap().len() == 0;
    assert!(empty("etc/.wh.gone") && empty("etc/.wh.gone-too"));
    assert!(empty("cache/.wh..wh..opq"));
    assert!(!to.join("etc/gone").exists() && !to.join("etc/gone-too").exists());
    assert_eq!(fs::read(to.join("etc/changed")).unwrap(), b"new");
    let attribute = |path: &str, name| xattr::get(to.join(path), name).unwrap();
    assert_eq!(attribute("cache/kept", "user.mine").unwrap(), b"a\nb=c");
    assert_eq!(attribute("cache", "user.overlay.opaque"), None);
    assert_eq!(attribute("cache", "user.overlay.origin"), None);
}

fn fs_mode() -> nix::sys::stat::Mode {
    nix::sys::stat::Mode::empty()
}

#[test]
fn names_and_links_that_a_workload_chose_stay_what_they_are() {
    let scene = Scene::new();
    let names: [&[u8]; 8] = [
        b"new\nline",
        b"..almost",
        b"-rf",
        b" ",
        b"\xff\xfe not text",
        b"\x1b[31m",
        b"a\\b",
        &[b'x'; 255],
    ];
    for name in names {
        scene.file(OsStr::from_bytes(name), name);
    }
    let deep = ["d"; 200].join("/");
    fs::create_dir_all(scene.at(&deep)).unwrap();
    scene.file(format!("{deep}/{}", "y".repeat(200)), b"deep");
    let long = format!("/{}", "t".repeat(300));
    for (name, target) in [
        ("absolute", "/etc/shadow"),
        ("up", "../../../../etc"),
        ("odd", ".//a///../b/"),
        ("long", &long),
    ] {
        symlink(target, scene.at(name)).unwrap();
    }
    fs::hard_link(scene.at("-rf"), scene.at("z-second")).unwrap();
    let (written, to) = scene.unpack();
    assert_eq!(written.warnings, Vec::<String>::new());
    for name in names {
        let path = to.join(OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), name, "{path:?}");
    }
    assert!(to.join(format!("{deep}/{}", "y".repeat(200))).exists());
    for (name, target) in [
        ("absolute", "/etc/shadow"),
        ("up", "../../../../etc"),
        ("odd", ".//a///../b/"),
        ("long", &long),
    ] {
        assert_eq!(fs::read_link(to.join(name)).unwrap(), Path::new(target));
    }
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("-rf"), inode("z-second"));
}

#[test]
fn modes_times_fifos_and_holes_are_kept() {
    let scene = Scene::new();
    scene.file("old", b"x");
    let before_1970 = std::time::UNIX_EPOCH - Duration::from_secs(77);
    let old = File::options().write(true).open(scene.at("old")).unwrap();
    old.set_modified(before_1970).unwrap();
    fs::set_permissions(scene.at("old"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(scene.at(""), fs::Permissions::from_mode(0o711)).unwrap();
    mkfifo(&scene.at("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let holes = File::create(scene.at("holes")).unwrap();
    holes.set_len(64 << 20).unwrap();
    for piece in 0..30_u64 {
        holes.write_all_at(&[7; 4096], piece << 20).unwrap();
    }
    File::create(scene.at("hole"))
        .unwrap()
        .set_len(5 << 20)
        .unwrap();
    let (written, to) = scene.unpack();
    assert!(written.bytes < 1 << 20, "{}", written.bytes);
    let meta = |name: &str| fs::metadata(to.join(name)).unwrap();
    assert_eq!(
        (meta("old").mtime(), meta("old").mode() & 0o7777),
        (-77, 0o4751)
    );
    assert_eq!(meta("").mode() & 0o7777, 0o711);
    assert!(meta("fifo").file_type().is_fifo());
    let same = |name: &str| fs::read(to.join(name)).unwrap() == fs::read(scene.at(name)).unwrap();
    assert!(same("holes") && same("hole"));
    assert!(meta("holes").blocks() * 512 < 1 << 20);
}

#[test]
fn what_an_archive_cannot_hold_is_left_out_and_told() {
    let scene = Scene::new();
    let _socket = UnixListener::bind(scene.at("s\nocket")).unwrap();
    scene.dir(".wh.dir");
    scene.file(".wh.dir/inner", b"");
    for number in 0..5 {
        scene.file(format!(".wh.{number}"), b"");
    }
    scene.file("kept", b"");
    let (written, to) = scene.unpack();
    let names: Vec<_> = fs::read_dir(&to).unwrap().collect();
    assert_eq!(names.len(), 1);
    let marks = "rootfs-diff.tar does not hold \".wh.0\", \".wh.1\", \".wh.2\" and 3 more: their names are those of a layer's own marks";
    let socket = "rootfs-diff.tar does not hold \"s\\nocket\": an archive has no sockets";
    assert_eq!(written.warnings, [marks, socket]);
}

#[test]
fn it_stops_when_it_is_too_late_or_too_much() {
    let scene = Scene::new();
    scene.file("large", &vec![1; 2 << 20]);
    let write = |limits: Limits<'_>| scene.upper().write(io::sink(), &limits).unwrap_err();
    let late = Limits {
        until: Some(Instant::now()),
        ..NEVER
    };
    assert!(matches!(write(late), Error::Interrupted));
    let called_off = Limits {
        called_off: &|| true,
        ..NEVER
    };
    assert!(matches!(write(called_off), Error::Interrupted));
    let small = Limits {
        most: 1 << 20,
        ..NEVER
    };
    assert!(matches!(write(small), Error::TooLarge { most: 1_048_576 }));
    let size = scene.upper().size().unwrap();
    let enough = Limits {
        most: size.bytes + (64 << 10),
        ..NEVER
    };
    assert!(scene.upper().write(io::sink(), &enough).is_ok());
}

#[test]
fn content_that_is_elsewhere_is_refused_and_not_lost() {
    for mark in ["redirect", "metacopy"] {
        let scene = Scene::new();
        scene.dir("moved");
        scene.mark("moved", mark, b"/before");
        let error = scene.upper().write(io::sink(), &NEVER).unwrap_err();
        assert!(matches!(error, Error::Elsewhere { .. }), "{error}");
    }
}

#[test]
fn a_full_disk_is_told_by_its_number() {
    let scene = Scene::new();
    scene.file("large", &vec![1; 2 << 20]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = scene.upper().write(full, &NEVER).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENOSPC));
}

#[test]
fn only_what_the_container_did_counts_as_a_change() {
    let mounts = ["/etc/hosts", "/var/run/secrets"].map(PathBuf::from);
    let changed = |scene: &Scene| scene.upper().first_change(&mounts).unwrap();
    let scene = Scene::new();
    for dir in ["etc", "var", "var/run", "var/run/secrets"] {
        scene.dir(dir);
        scene.mark(dir, "opaque", b"y");
    }
    scene.file("etc/hosts", b"");
    scene.dir("opt");
    assert_eq!(changed(&scene), None);
    scene.dir("opt/new");
    scene.mark("opt/new", "opaque", b"y");
    assert_eq!(changed(&scene), Some("/opt/new".into()));
    scene.file("etc/other", b"");
    assert_eq!(changed(&scene), Some("/etc/other".into()));
    fs::remove_file(scene.at("etc/other")).unwrap();
    scene.file("etc/hosts", b"own");
    assert_eq!(changed(&scene), Some("/etc/hosts".into()));
}

#[test]
fn no_link_on_the_way_is_followed() {
    let scene = Scene::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    symlink(outside.path(), scene.at("dir")).unwrap();
    let (_, to) = scene.unpack();
    assert!(fs::symlink_metadata(to.join("dir")).unwrap().is_symlink());
    let error = Upper::open(&scene.at("dir"), Marks::User).unwrap_err();
    assert!(matches!(error, Error::Open { .. }));
}
