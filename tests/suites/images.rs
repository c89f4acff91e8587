//! The container images: what the archives hold, that they are the same each time, and that what is in them runs.

#![expect(
    clippy::expect_used,
    reason = "a helper of a test fails as the test does"
)]

mod images {
    pub(super) mod archive;
}

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rig::{Node, Shape};
use serde_json::Value;

use images::archive::{AGENT, IMAGES, Image, OPERATOR, build, digest, files};

/// What a command in an image's own files printed, and whether it succeeded.
fn run(image: &Image, command: &[&str]) -> (bool, String) {
    let out = Command::new("chroot")
        .arg(&image.root)
        .args(command)
        .stdin(Stdio::null())
        .output()
        .expect("chroot starts");
    let text = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn bill(image: &Image) -> Value {
    let path = format!("usr/share/sbom/{}.spdx.json", image.name);
    let bytes = fs::read(image.root.join(path)).expect("the image holds its bill of materials");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

#[test]
#[ignore = "needs the node root: run make test"]
fn an_archive_is_an_oci_layout_whose_digests_and_sizes_hold() {
    for name in IMAGES {
        let image = Image::unpacked(name);
        assert_eq!(text(&image.layout, "/imageLayoutVersion"), "1.0.0");
        let annotated = text(
            &image.index,
            "/manifests/0/annotations/io.containerd.image.name",
        );
        assert_eq!(
            annotated,
            format!("docker.io/stillframe/{name}:{}", env!("CARGO_PKG_VERSION"))
        );
        let layers = list(&image.manifest, "/layers");
        let unpacked = list(&image.config, "/rootfs/diff_ids");
        assert_eq!(layers.len(), 2, "the Debian part, and ours");
        assert_eq!(unpacked.len(), 2);
        let mut named = BTreeSet::new();
        for descriptor in layers
            .iter()
            .chain([&image.manifest["config"], &image.index["manifests"][0]])
        {
            let blob = image.blob(descriptor);
            assert_eq!(
                format!("sha256:{}", digest(&blob)),
                text(descriptor, "/digest")
            );
            assert_eq!(
                Some(fs::metadata(&blob).expect("a blob").len()),
                descriptor["size"].as_u64()
            );
            named.insert(blob);
        }
        for (layer, unpacked) in image.layers.iter().zip(unpacked) {
            assert_eq!(
                Some(format!("sha256:{}", digest(layer)).as_str()),
                unpacked.as_str()
            );
        }
        let blobs = fs::read_dir(image.folder.join("oci/blobs/sha256")).expect("blobs");
        assert_eq!(
            blobs.count(),
            named.len(),
            "an archive holds what it names, and nothing else"
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_operator_runs_as_nobody_and_neither_image_holds_a_shell_or_a_file_that_gives_rights() {
    let operator = Image::unpacked(OPERATOR);
    assert_eq!(text(&operator.config, "/config/User"), "65532:65532");
    assert_eq!(
        operator.config["config"]["Entrypoint"][0],
        "/usr/local/bin/stillframe-operator"
    );
    assert!(!operator.root.join("usr/bin/sh").exists());

    for name in IMAGES {
        let image = Image::unpacked(name);
        for path in files(&image.root) {
            let meta = fs::symlink_metadata(&path).expect("an unpacked file");
            assert_eq!(
                meta.permissions().mode() & 0o6000,
                0,
                "{} is setuid or setgid",
                path.display()
            );
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let shells = [
                "bash", "dash", "ash", "busybox", "zsh", "ksh", "python3", "perl", "env",
            ];
            assert!(!shells.contains(&file.as_ref()), "{}", path.display());
            if file == "sh" {
                let target = fs::read_link(&path).expect("a link to what is no shell");
                assert_eq!(target, Path::new("../local/bin/stillframe-sh"));
            }
        }
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn what_is_called_sh_in_the_agents_image_starts_no_more_than_criu_and_tar_want() {
    let image = Image::unpacked(AGENT);
    assert!(run(image, &["/bin/sh", "-c", "iptables --version"]).0);
    for refused in [
        &["/bin/sh"][..],
        &["/bin/sh", "-i"],
        &["/bin/sh", "-c", "criu --version"],
        &["/bin/sh", "-c", "gzip --version; criu --version"],
    ] {
        let (succeeded, said) = run(image, refused);
        assert!(
            !succeeded && said.starts_with("sh: this is no shell"),
            "{refused:?}: {said}"
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_programs_start_with_the_libraries_that_their_image_holds() {
    let version = env!("CARGO_PKG_VERSION");
    for name in IMAGES {
        let image = Image::unpacked(name);
        let entry = text(&image.config, "/config/Entrypoint/0");
        let (succeeded, said) = run(image, &[entry, "--version"]);
        assert!(succeeded && said.contains(version), "{said}");
    }
    let image = Image::unpacked(AGENT);
    let (succeeded, said) = run(image, &["/usr/sbin/criu", "--version"]);
    assert!(succeeded && said.contains("Version: 4."), "{said}");
    for tool in [
        "nft",
        "iptables",
        "iptables-restore",
        "ip6tables",
        "ip6tables-restore",
        "tar",
        "gzip",
    ] {
        let folder = if matches!(tool, "tar" | "gzip") {
            "bin"
        } else {
            "sbin"
        };
        let (succeeded, said) = run(image, &[&format!("/usr/{folder}/{tool}"), "--version"]);
        assert!(succeeded, "{tool}: {said}");
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_mount_with_much_in_it_is_archived_without_a_shell() {
    let image = Image::unpacked(AGENT);
    let mount = tempfile::tempdir().expect("a folder");
    // More than the archiver does itself, so that it hands over to tar, and tar to gzip.
    fs::write(mount.path().join("large"), vec![b'x'; 1 << 20]).expect("a large file");
    let criu_asks = [
        "--create",
        "--gzip",
        "--no-unquote",
        "--no-wildcards",
        "--one-file-system",
        "--check-links",
        "--preserve-permissions",
        "--sparse",
        "--numeric-owner",
        "--directory",
        "/proc/self/fd/0",
        ".",
    ];
    let proc = image.root.join("proc");
    let script = r#"mount --bind /proc "$1" && shift && exec chroot "$@""#;
    let out = Command::new("unshare")
        .args(["--mount", "bash", "-euc", script, "script"])
        .arg(&proc)
        .arg(&image.root)
        .arg("/usr/local/bin/stillframe-archiver")
        .args(criu_asks)
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin")
        .stdin(fs::File::open(mount.path()).expect("the folder opens"))
        .output()
        .expect("unshare starts");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let archive = mount.path().join("archive.tar.gz");
    fs::write(&archive, &out.stdout).expect("the archive is written");
    let held = Command::new("tar")
        .arg("-tzf")
        .arg(&archive)
        .output()
        .expect("tar starts");
    assert_eq!(String::from_utf8_lossy(&held.stdout), "./\n./large\n");
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_licence_of_everything_in_an_image_is_in_it() {
    for name in IMAGES {
        let image = Image::unpacked(name);
        let doc = image.root.join("usr/share/doc");
        let licence = fs::read_to_string(doc.join(name).join("copyright")).expect("our licence");
        assert!(licence.contains("Apache License"));
        let noted = fs::read_dir(image.root.join("var/lib/dpkg/status.d")).expect("packages");
        let packages: Vec<String> = noted
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".md5sums"))
            .collect();
        assert!(packages.contains(&"libc6".to_owned()), "{packages:?}");
        for package in packages {
            let licence = fs::metadata(doc.join(&package).join("copyright")).expect("a licence");
            assert!(licence.len() > 0, "{package}");
        }
        let crates = fs::read_dir(doc.join(name).join("crates")).expect("crates");
        assert!(crates.count() > 50);
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_bill_of_materials_lists_packages_and_crates_and_names_nothing_that_it_does_not_describe() {
    for name in IMAGES {
        let image = Image::unpacked(name);
        let bill = bill(image);
        assert_eq!(text(&bill, "/spdxVersion"), "SPDX-2.3");
        assert_eq!(text(&bill, "/dataLicense"), "CC0-1.0");
        assert_eq!(text(&bill, "/SPDXID"), "SPDXRef-DOCUMENT");
        assert!(text(&bill, "/documentNamespace").starts_with("https://"));
        assert!(text(&bill, "/creationInfo/created").ends_with('Z'));
        let mut ids = BTreeSet::from(["SPDXRef-DOCUMENT"]);
        let mut names = BTreeSet::new();
        for package in list(&bill, "/packages") {
            let id = text(package, "/SPDXID");
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            assert!(
                id.strip_prefix("SPDXRef-")
                    .is_some_and(|id| id.chars().all(plain)),
                "{id}"
            );
            assert!(ids.insert(id), "{id} is there twice");
            for field in [
                "/name",
                "/versionInfo",
                "/downloadLocation",
                "/licenseConcluded",
                "/licenseDeclared",
                "/copyrightText",
            ] {
                assert!(!text(package, field).is_empty(), "{id} has no {field}");
            }
            assert!(text(package, "/externalRefs/0/referenceLocator").starts_with("pkg:"));
            names.insert(text(package, "/name"));
        }
        for relation in list(&bill, "/relationships") {
            for end in ["/spdxElementId", "/relatedSpdxElement"] {
                assert!(ids.contains(text(relation, end)), "{relation}");
            }
        }
        for wanted in ["libc6", "tokio", "kube-client", "rust-std", name] {
            assert!(names.contains(wanted), "{name} has no {wanted}");
        }
        // What only runs while the programs are compiled or tested is not in them.
        for other in ["proptest", "syn", "tempfile"] {
            assert!(!names.contains(other), "{name} has {other}");
        }
        for wanted in ["criu", "nftables", "stillframe-archiver", "glibc"] {
            assert_eq!(names.contains(wanted), name == AGENT, "{wanted}");
        }
        let beside = image.archive.with_file_name(format!("{name}.spdx.json"));
        let inside = image.root.join(format!("usr/share/sbom/{name}.spdx.json"));
        assert_eq!(digest(&beside), digest(&inside));
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_same_programs_give_the_same_archive_in_another_folder() {
    let here = Image::unpacked(OPERATOR).archive.parent();
    let here = here.expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    // The programs are the same files; all else is made anew.
    let debug = here.join("../../debug");
    std::os::unix::fs::symlink(
        fs::canonicalize(debug).expect("programs"),
        elsewhere.path().join("debug"),
    )
    .expect("a link");
    let again = build(Some(elsewhere.path()));
    for name in IMAGES {
        let file = format!("{name}.tar");
        assert_eq!(
            digest(&here.join(&file)),
            digest(&again.join(&file)),
            "{file}"
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_agents_image_checkpoints_a_container_from_a_mount_namespace_of_its_own() {
    let image = Image::unpacked(AGENT);
    let node = Node::shared();
    let counter = Shape::new(node, "from-an-image").start();
    let before = counter.counter_beyond(10);
    let root = node.path("agent-root");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&image.root)
        .arg(&root)
        .status();
    assert!(copied.expect("cp starts").success());

    // What a privileged pod in the host's pid namespace has: its image as its root, the runtime's state and the cgroups from the host.
    let script = r#"
        root=/run/rig/agent-root
        mount --bind "$root" "$root"
        cd "$root"
        mount -t tmpfs tmpfs run
        mkdir -p run/runc run/rig run/host
        cp /usr/bin/busybox run/
        mount -t proc proc proc
        mount --rbind /sys sys
        mount --rbind /dev dev
        mount --rbind /run/runc run/runc
        mount --rbind --make-rslave /run/rig run/rig
        busybox pivot_root . run/host
        export PATH=/usr/local/bin:/usr/sbin:/usr/bin
        /run/busybox umount -l /run/host
        "$@"
    "#;
    let inside = |command: &[&str]| {
        let namespace = [
            "unshare",
            "--mount",
            "--propagation",
            "slave",
            "bash",
            "-euc",
            script,
            "script",
        ];
        node.run(&[&namespace[..], command].concat())
    };
    let said = inside(&["criu", "check"]).ok();
    assert!(said.stdout.contains("Looks good"), "{said:?}");
    inside(&[
        "stillframe-node-agent",
        "checkpoint",
        "--leave-running",
        "--image-path",
        "/run/rig/from-an-image.image",
        "from-an-image",
    ])
    .ok();
    assert!(node.path("from-an-image.image/inventory.img").is_file());
    let _ = counter.counter_beyond(before + 10);
}
