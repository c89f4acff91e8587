//! Which shim of containerd runs a container: another one than runc's keeps no state that is read
//! here.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{Engine, PodContainerId, Roots};
use crate::runtime::{ContainerId, document::Field, load};

/// The shims that run runc or what is called like it.
const RUNC_SHIMS: [&str; 2] = ["containerd-shim-runc-v2", "containerd-shim-runc-v1"];
/// Longest path that is read.
const MAX_BYTES: u64 = 4096;
/// containerd's annotation of a container with the id of its sandbox.
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";

impl Roots {
    /// The program of a shim that is not runc's, such as `containerd-shim-kata-v2` or
    /// `containerd-shim-runsc-v1`; `None` when it is runc's or cannot be told. containerd 2.2
    /// notes it in the bundle whose shim it started, which is the sandbox's (`binary.Start` and
    /// `loadShim` in core/runtime/v2). CRI-O notes none.
    #[must_use]
    pub fn foreign_shim(&self, id: &PodContainerId) -> Option<String> {
        if id.engine() != Engine::Containerd {
            return None;
        }
        self.bundles(id).iter().find_map(|bundle| {
            let shim = noted(bundle).or_else(|| {
                let sandbox: ContainerId = sandbox_id(bundle)?.parse().ok()?;
                noted(&bundle.parent()?.join(sandbox.as_str()))
            })?;
            let name = Path::new(&shim).file_name()?.to_str()?;
            (!RUNC_SHIMS.contains(&name))
                .then(|| name.chars().filter(|c| !c.is_control()).collect())
        })
    }
}

fn noted(bundle: &Path) -> Option<String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(bundle.join("shim-binary-path"))?;
        file.take(MAX_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn sandbox_id(bundle: &Path) -> Option<String> {
    let file = bundle.join("config.json");
    let config = load::read_json(&file).ok()??;
    let annotations = Field::document(&file, &config)
        .ok()?
        .get("annotations")
        .ok()??;
    let id = annotations.text_of(SANDBOX_ID).ok()??;
    Some(id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task/k8s.io";

    fn shim(files: &[(&str, &str)]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let file = dir.path().join(TASKS).join(path.replace("ID", ID));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        let roots = Roots {
            prefix: dir.path().to_owned(),
            ..Roots::default()
        };
        roots.foreign_shim(&format!("containerd://{ID}").parse().unwrap())
    }

    #[test]
    fn another_shim_is_named_and_runcs_is_not() {
        let named = |path| shim(&[("ID/shim-binary-path", path)]);
        assert_eq!(named("/usr/bin/containerd-shim-runc-v2"), None);
        assert_eq!(
            named("/opt/kata/bin/containerd-shim-kata-v2\n").as_deref(),
            Some("containerd-shim-kata-v2")
        );
        assert_eq!(named(""), None);
        assert_eq!(shim(&[]), None);
    }

    #[test]
    fn the_sandboxs_shim_is_the_containers() {
        let config = r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"abc"}}"#;
        let runsc = ("abc/shim-binary-path", "/usr/bin/containerd-shim-runsc-v1");
        assert_eq!(
            shim(&[("ID/config.json", config), runsc]).as_deref(),
            Some("containerd-shim-runsc-v1")
        );
        let outside = r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"../abc"}}"#;
        assert_eq!(shim(&[("ID/config.json", outside), runsc]), None);
        assert_eq!(shim(&[("ID/config.json", "[]"), runsc]), None);
    }
}
