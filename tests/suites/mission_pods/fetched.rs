//! The image in the hands of the user: by the lines that its checkpoint shows.

use rig::Mission;
use rig::cluster::Manifest;
use serde_json::json;

use crate::journey::{checkpoint_of, node};

#[test]
#[ignore = "needs the node root: run make test"]
fn the_lines_that_a_checkpoint_shows_bring_all_of_its_image() {
    let cluster = Mission::shared().cluster();
    let pod = cluster.run(&Manifest::new("fetched"));
    // A name that a shell would take apart.
    let options = json!({"imagePath": "it's $(id) & more"});
    let spec = json!({"source": {"podName": "fetched"}, "options": options});
    let checkpoint = checkpoint_of(&pod, "app", &spec);
    let message = checkpoint.condition("Ready").message;
    let mut lines = message.lines().filter(|line| line.starts_with("kubectl "));
    let mut run = |debugger: &str| {
        let line = lines.next().unwrap_or_else(|| panic!("{message}"));
        let line = line.replace("POD", debugger);
        let script = format!("export KUBECONFIG=/run/rig/pki/admin.conf; cd /run/rig; {line}");
        node().shell(&script).ok().stdout
    };
    let said = run("");
    let debugger = said
        .split_whitespace()
        .find(|word| word.starts_with("node-debugger-"))
        .unwrap_or_else(|| panic!("it names no pod: {said}"))
        .to_owned();
    cluster.wait(&format!("pod/{debugger}"), "condition=Ready");
    run(&debugger);
    run(&debugger);
    let digest = "mkdir /run/rig/got; cd /run/rig/got; tar -xf ../fetched.tar; export LC_ALL=C; \
                  find . -maxdepth 1 -type f ! -name '.*' -printf '%P\\0' | sort -z | xargs -0 sha256sum -- | sha256sum";
    let digest = node().shell(digest).ok().stdout;
    let digest = digest.split_whitespace().next().unwrap_or_default();
    let part = &checkpoint.status()["artifact"]["parts"][0];
    assert_eq!(part["digest"], format!("sha256:{digest}"));
    assert!(!cluster.try_kubectl(&["get", "pod", &debugger]).succeeded());
    checkpoint.delete();
    pod.delete();
}
