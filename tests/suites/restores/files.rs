//! What is in a container's own tmpfs mounts, whoever archives it.

use rig::{Container, Node, Program, Shape};

use crate::journey::there_and_back;

with_both_programs! {
    files_in_memory_come_back
    a_device_folder_without_files_comes_back
}

/// Every entry below some folders of a container: kind, mode, owner, target, device, links, seconds, size and content.
fn listing(node: &Node, container: &Container<'_>, folders: &[&str]) -> String {
    let script = "cd \"/proc/$1/root\"; shift; \
        find \"$@\" -xdev -printf '%p %y %m %U:%G %l %n %Ts %s\\n' | grep -Ev '^dev/(pts|mqueue)[ /]' | sed -E 's/^([^ ]+ d .*) [0-9]+$/\\1/' | sort; \
        find \"$@\" -xdev \\( -type c -o -type b \\) -exec stat -c '%n %t:%T' {} + | sort; \
        find \"$@\" -xdev -type f -exec sha256sum {} + | sort";
    node.command("bash")
        .args(["-euc", script, "listing"])
        .arg(container.pid().to_string())
        .args(folders)
        .output()
        .ok()
        .stdout
}

fn files_in_memory_come_back(program: Program) {
    let node = Node::shared();
    let script = "cd /scratch; mkdir -p deep/er empty; echo text >deep/er/file; chmod 0640 deep/er/file; \
        chown 12:34 deep/er/file; ln -s ../nowhere link; ln deep/er/file hard; mkfifo fifo; chmod 1777 deep; \
        head -c 3000000 /dev/urandom >large; : >'with blank'; touch -t 200102030405 large; \
        mknod device c 1 3; exec /out/workload count";
    let mut container = Shape::new(node, node.unique("tmpfs"))
        .tmpfs("/scratch", &["size=16m", "mode=0751"])
        .tmpfs("/void", &["mode=0700"])
        .edit(|config| {
            let all =
                serde_json::json!(["CAP_MKNOD", "CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"]);
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = all.clone();
            }
        })
        .script(script)
        .with_workload()
        .prepare();
    for applet in ["mkdir", "chmod", "chown", "head", "touch", "mknod"] {
        let link = container.file("/bin").join(applet);
        std::os::unix::fs::symlink("busybox", link).expect("an applet");
    }
    container.run();
    crate::journey::seen(&container, crate::journey::STATE);
    let folders = ["scratch", "void", "dev", "dev/shm"];
    let before = listing(node, &container, &folders);
    assert!(
        before.contains("scratch/deep/er/file f 640 12:34"),
        "{before}"
    );
    assert!(before.contains("scratch/device 1:3"), "{before}");
    there_and_back(&mut container, program, &[], &[]);
    assert_eq!(listing(node, &container, &folders), before);
}

fn a_device_folder_without_files_comes_back(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("devices"))
        .workload(&["count"])
        .start();
    let before = listing(node, &container, &["dev", "dev/shm"]);
    assert!(before.contains("dev/null 1:3"), "{before}");
    assert!(before.contains("dev/fd l"), "{before}");
    there_and_back(&mut container, program, &[], &[]);
    assert_eq!(listing(node, &container, &["dev", "dev/shm"]), before);
}
