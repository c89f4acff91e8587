//! What the administrator does to a cluster, by `kubectl`.

use std::fs;
use std::path::{Path, PathBuf};

use super::Cluster;
use super::control_plane::{ADMIN, server};
use crate::node::{Invocation, Output};

impl Cluster {
    /// A `kubectl` command of the administrator, to be started in the first node.
    #[must_use]
    pub fn kubectl_command(&self, args: &[&str]) -> Invocation<'_> {
        self.node(0)
            .command("kubectl")
            .args(args)
            .env("KUBECONFIG", ADMIN)
    }

    /// Runs `kubectl`, whatever comes of it.
    #[must_use]
    pub fn try_kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_command(args).output()
    }

    /// Runs a `kubectl` that must succeed, and returns what it prints.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).ok().stdout
    }

    /// Sends the API server a merge patch with this bearer token; the answer is on standard output, whatever it is.
    ///
    /// `kubectl patch` reads what it patches first, which takes a right more than the project's programs have.
    #[must_use]
    pub fn try_patch_with(&self, token: &str, path: &str, change: &str) -> Output {
        self.node(0)
            .command("curl")
            .args(["--silent", "--show-error", "--fail-with-body"])
            .args(["--cacert", "/run/rig/pki/ca.crt", "--request", "PATCH"])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--header", "Content-Type: application/merge-patch+json"])
            .args(["--data", change, &format!("{}{path}", server())])
            .output()
    }

    /// Applies these manifests (YAML or JSON), on the server's side, whatever comes of it.
    #[must_use]
    pub fn try_apply(&self, manifests: &str) -> Output {
        let node = self.node(0);
        let file = node.put(&node.unique("manifest"), manifests);
        let output = self.try_kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename",
            &file,
        ]);
        let _ = fs::remove_file(node.path(&file));
        output
    }

    /// Applies manifests that must be accepted.
    pub fn apply(&self, manifests: &str) -> String {
        self.try_apply(manifests).ok().stdout
    }

    /// Waits, by a watch, with `kubectl wait`: `wait("pod/a", "condition=Ready")`. Fails after a minute, or more where virtual machines are.
    pub fn wait(&self, object: &str, condition: &str) {
        self.wait_in("default", object, condition);
    }

    /// As [`Cluster::wait`], in this namespace.
    pub fn wait_in(&self, namespace: &str, object: &str, condition: &str) {
        let condition = format!("--for={condition}");
        let patience = self.patience();
        let timeout = format!("--timeout={}s", patience.as_secs());
        let args = [
            "wait",
            "--namespace",
            namespace,
            object,
            &condition,
            &timeout,
        ];
        let output = self.kubectl_command(&args).timeout(patience * 2).output();
        assert!(
            output.succeeded(),
            "{object} did not come to {condition}: {}\n{}",
            output.stderr,
            self.try_kubectl(&["describe", "--namespace", namespace, object])
                .stdout
        );
    }

    /// Applies the project's resource definitions, `crds/yaml/*.yaml`, and waits until they are served.
    pub fn install_crds(&self) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml");
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("failed to read {}: {error}", folder.display()))
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "yaml")
            })
            .collect();
        files.sort();
        assert!(
            !files.is_empty(),
            "{} holds no definition",
            folder.display()
        );
        for file in files {
            self.install_definition(&fs::read_to_string(&file).expect("a definition's file"));
        }
    }

    /// Applies one resource definition and waits until it is served.
    pub fn install_definition(&self, definition: &str) {
        let applied = self.apply(definition);
        for object in applied
            .lines()
            .filter_map(|line| line.split_whitespace().next())
        {
            self.wait(object, "condition=Established");
        }
    }
}
