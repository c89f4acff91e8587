//! A process that somebody started from a terminal beside the container, as `kubectl exec -it` does, and left in the background.
//!
//! Its session's leader is not below the container's first process. The runtimes' own `restore` cannot bring it back, whoever
//! dumped it: they always ask CRIU for a new terminal (`orphan_pts_master`), and CRIU then looks for the leader that the image
//! does not have. CRIU's own command inherits the terminal that it is started in.

use nix::sys::signal::Signal;
use rig::node::Job;
use rig::shown::Outcome;
use rig::{Container, Node};
use serde_json::json;

use crate::journey::{STATE, Subject, dump, goes_on, refused, seen};

on_every_runtime! {
    a_job_of_a_shell_outside_comes_back
}

/// The state file of the job.
const JOB: &str = "/out/job";

/// Runs a shell script with a terminal of its own, which stays after it.
fn in_a_terminal(node: &'static Node, script: &str) -> Job<'static> {
    node.command("script")
        .args(["-qec", &format!("{script}; exec sleep 1000"), "/dev/null"])
        .spawn()
}

fn a_job_of_a_shell_outside_comes_back(subject: Subject) {
    let (node, program) = (Node::shared(), subject.program);
    let container = subject
        .shape("shell-job")
        .workload(&["count", "--quiet"])
        .edit(|config| {
            // CRIU's own command would have to be told of each.
            let mounts = config["mounts"].as_array_mut().expect("a list");
            mounts.retain(|mount| mount["type"] != "cgroup");
            config["linux"]["maskedPaths"] = json!([]);
        })
        .start();
    let before = seen(&container, STATE);
    let root = subject.runtime.root();
    let job = format!("(/out/workload count --state {JOB} &); exec sleep 1000");
    let shell = in_a_terminal(
        node,
        &format!(
            "{} --root {root} exec -t {} /bin/sh -c '{job}'",
            subject.runtime,
            container.id()
        ),
    );
    let of_job = seen(&container, JOB);
    refused(&container, program, &[], "Found dangling tty");
    goes_on(&container, JOB, &of_job);
    dump(&container, program, &["--shell-job"]);
    shell.kill(Signal::SIGKILL, true);
    let _ = shell.output();
    must_not_come_back_by_its_runtime(&container);

    let root = format!("{}/rootfs", container.bundle());
    node.run(&["mount", "--bind", &root, &root]).ok();
    let pidfile = format!("{}/restored", container.bundle());
    let terminal = in_a_terminal(
        node,
        &format!(
            "criu restore --images-dir {}/image --root {root} --external 'mnt[/usr]:/usr' --shell-job \
             --manage-cgroups=ignore --empty-ns net --restore-detached --pidfile {pidfile} --log-file restore.log",
            container.bundle()
        ),
    );
    goes_on(&container, STATE, &before);
    goes_on(&container, JOB, &of_job);
    node.shell(&format!("kill -9 $(cat {pidfile})")).ok();
    terminal.kill(Signal::SIGKILL, true);
    let printed = terminal.output().stdout;
    let wanted = format!("session={}", of_job.0);
    assert!(printed.contains(&wanted), "{printed} is not of {of_job:?}");
    node.shell(&format!("until umount {root}; do sleep 0.02; done"))
        .ok();
    subject.found("shell-job", Outcome::RestoredByCriu);
}

/// If it does, the matrix may say so.
fn must_not_come_back_by_its_runtime(container: &Container<'_>) {
    let image = format!("{}/image", container.bundle());
    let _ = container.delete();
    let output = container
        .runtime_command()
        .args(["restore", "--detach", "--shell-job"])
        .args(["--image-path", &image, "--work-path", &image])
        .args(["--bundle", container.bundle(), container.id()])
        .output();
    let log = container.file("/").join("../image/restore.log");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert!(!output.succeeded(), "it came back: {output:#?}");
    assert!(log.contains("Set a control terminal"), "{log}");
}
