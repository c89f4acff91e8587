//! An image's archive, made by `images/build --debug` and unpacked.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rig::node::built;
use serde_json::Value;

pub(crate) const OPERATOR: &str = "stillframe-operator";
pub(crate) const AGENT: &str = "stillframe-node-agent";
pub(crate) const IMAGES: [&str; 2] = [OPERATOR, AGENT];

/// An archive and everything in it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) archive: PathBuf,
    /// Where it is unpacked: `oci/` as it is, the layers as plain tar files, `root/` as a container would see it.
    pub(crate) folder: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) layout: Value,
    pub(crate) index: Value,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
}

impl Image {
    /// The image of that name, made and unpacked once for all tests of this process.
    pub(crate) fn unpacked(name: &str) -> &'static Self {
        static ALL: OnceLock<Vec<Image>> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            let archives = build(None);
            IMAGES.map(|name| Self::unpack(name, &archives)).into()
        });
        all.iter()
            .find(|image| image.name == name)
            .expect("one of IMAGES")
    }

    fn unpack(name: &'static str, archives: &Path) -> Self {
        let archive = archives.join(format!("{name}.tar"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("images")
            .join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("what the last run left goes");
        }
        let (oci, root) = (folder.join("oci"), folder.join("root"));
        for folder in [&oci, &root] {
            fs::create_dir_all(folder).expect("a folder");
        }
        done(
            Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(&oci),
        );
        let index = json(&oci.join("index.json"));
        let mut image = Self {
            name,
            archive,
            layout: json(&oci.join("oci-layout")),
            manifest: Value::Null,
            config: Value::Null,
            layers: Vec::new(),
            index,
            folder,
            root,
        };
        image.manifest = json(&image.blob(&image.index["manifests"][0]));
        image.config = json(&image.blob(&image.manifest["config"]));
        let layers = image.manifest["layers"].as_array().cloned();
        for (number, layer) in layers.unwrap_or_default().iter().enumerate() {
            let plain = image.folder.join(format!("layer-{number}.tar"));
            fs::copy(image.blob(layer), &plain).expect("a layer");
            if layer["mediaType"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("+gzip"))
            {
                let packed = plain.with_extension("tar.gz");
                fs::rename(&plain, &packed).expect("a layer");
                done(Command::new("gzip").arg("-d").arg(&packed));
            }
            done(
                Command::new("tar")
                    .args(["--numeric-owner", "--same-permissions", "-xf"])
                    .arg(&plain)
                    .arg("-C")
                    .arg(&image.root),
            );
            image.layers.push(plain);
        }
        image
    }

    /// The blob that a descriptor names.
    pub(crate) fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let digest = digest.strip_prefix("sha256:").expect("a sha256 digest");
        self.folder.join("oci/blobs/sha256").join(digest)
    }
}

/// Runs `images/build --debug` and returns the folder of the archives: that of this build, or one in another target folder.
pub(crate) fn build(target: Option<&Path>) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/build");
    let target = target.map_or_else(
        || {
            let program = built(OPERATOR);
            let target = program.ancestors().nth(2).expect("a target folder");
            target.to_owned()
        },
        Path::to_owned,
    );
    assert!(
        env::var_os("STILLFRAME_RIG").is_some(),
        "STILLFRAME_RIG is not set: this test needs the node root. Run `make test`, or as root \
         `export STILLFRAME_RIG=$(tests/rig/prepare)` first"
    );
    done(
        Command::new(script)
            .arg("--debug")
            .env("CARGO_TARGET_DIR", &target),
    );
    target.join("images/debug")
}

/// Runs a command that must succeed.
fn done(command: &mut Command) {
    let out = command.output().expect("the command starts");
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

fn json(path: &Path) -> Value {
    let bytes = fs::read(path).expect("a file of the layout");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// The sha256 of a file, in hexadecimal.
pub(crate) fn digest(path: &Path) -> String {
    let out = Command::new("sha256sum")
        .arg(path)
        .output()
        .expect("sha256sum starts");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout)[..64].to_owned()
}

/// Everything in a folder, links as links.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}
