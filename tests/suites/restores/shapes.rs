//! Containers of every shape.

use rig::container::shape::COUNT;
use rig::container::{Runtime, Stdio};
use rig::pod::Containerd;
use rig::{Node, Program, Shape};

use crate::journey::{STATE, Subject, dump, goes_on, restore, seen, there_and_back};

on_every_runtime! {
    a_container_that_went_on_comes_back_as_it_was
}

with_both_programs! {
    a_container_comes_back
    a_terminal_and_pipes_come_back
    nested_and_symlinked_binds_come_back
    processes_and_threads_come_back
    a_process_started_by_exec_is_treated_as_by_runc
    a_container_moved_to_another_cgroup_comes_back
    a_container_of_crun_comes_back
    a_paused_container_comes_back
    a_container_of_a_pod_comes_back
}

fn a_container_comes_back(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("plain"))
        .workload(&["count"])
        .start();
    there_and_back(&mut container, program, &[], &[]);
    // And once more, from what was restored.
    there_and_back(&mut container, program, &[], &[]);
}

fn a_container_that_went_on_comes_back_as_it_was(subject: Subject) {
    let mut container = subject.shape("went-on").workload(&["count"]).start();
    let before = seen(&container, STATE);
    dump(&container, subject.program, &["--leave-running"]);
    assert!(container.is_running());
    goes_on(&container, STATE, &before);
    let later = container.published_when(STATE, |state| state.number("ticks") > before.1 + 50);
    container.delete().ok();
    restore(&mut container, &[]);
    let back =
        container.published_when(STATE, |state| state.number("ticks") < later.number("ticks"));
    assert!(back.number("ticks") >= before.1);
    goes_on(&container, STATE, &before);
    subject.shown("leave-running");
}

fn a_terminal_and_pipes_come_back(program: Program) {
    let node = Node::shared();
    for stdio in [Stdio::Pipes, Stdio::Terminal] {
        let mut container = Shape::new(node, node.unique("streams"))
            .stdio(stdio)
            .workload(&["tty"])
            .start();
        there_and_back(&mut container, program, &[], &[]);
        let state = container.published(STATE);
        assert_eq!(state.text("tty"), (stdio == Stdio::Terminal).to_string());
        assert_eq!(
            container.streams.terminal.is_some(),
            stdio == Stdio::Terminal
        );
        // What is written to the new ends arrives in the old process.
        let input = match stdio {
            Stdio::Terminal => &container.streams.terminal,
            _ => &container.streams.stdin,
        };
        nix::unistd::write(input.as_ref().expect("an input"), b"hello\n").expect("a write");
        let heard = container.published_when(STATE, |state| state.number("lines") == 1);
        assert_eq!(heard.text("session"), state.text("session"));
    }
}

fn nested_and_symlinked_binds_come_back(program: Program) {
    let node = Node::shared();
    let name = node.unique("binds");
    node.shell(&format!(
        "mkdir -p /run/rig/{name}/outer/inner /run/rig/{name}/inner && echo outer >/run/rig/{name}/outer/file && \
         echo inner >/run/rig/{name}/inner/file"
    ))
    .ok();
    let outer = format!("/run/rig/{name}/outer");
    let inner = format!("/run/rig/{name}/inner");
    let mut container = Shape::new(node, &name)
        .bind(&outer, "/data", &[])
        .bind(&inner, "/data/inner", &["ro"])
        .bind(&outer, "/link/below", &[])
        .bind(&format!("{inner}/file"), "/up/single", &[])
        .workload(&["count"])
        .prepare();
    node.shell(&format!(
        "cd {}/rootfs && mkdir -p target/below && ln -s target link && ln -s ../../../etc up",
        container.bundle()
    ))
    .ok();
    container.run();
    there_and_back(&mut container, program, &[], &[]);
    let root = format!("/proc/{}/root", container.pid());
    for (path, content) in [
        ("data/file", "outer\n"),
        ("data/inner/file", "inner\n"),
        ("target/below/file", "outer\n"),
        ("etc/single", "inner\n"),
    ] {
        assert_eq!(
            node.run(&["cat", &format!("{root}/{path}")]).ok().stdout,
            content,
            "{path}"
        );
    }
}

fn processes_and_threads_come_back(program: Program) {
    let node = Node::shared();
    let script = "for n in 1 2 3; do /out/workload threads --threads 16 --state /out/threads-$n & done; \
                  /out/workload pipes --state /out/pipes & exec /out/workload memory --state /out/state";
    let mut container = Shape::new(node, node.unique("many"))
        .script(script)
        .with_workload()
        .start();
    let files = [
        "/out/threads-1",
        "/out/threads-2",
        "/out/threads-3",
        "/out/pipes",
    ];
    let before = files.map(|file| seen(&container, file));
    there_and_back(&mut container, program, &[], &[]);
    for (file, before) in files.iter().zip(&before) {
        goes_on(&container, file, before);
    }
}

/// A process of `exec` is not below the first process: CRIU stops it and does not dump it; a dump that
/// ends the container ends it too.
fn a_process_started_by_exec_is_treated_as_by_runc(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("exec"))
        .workload(&["count"])
        .start();
    let script = "runc exec --detach \"$1\" /out/workload count --state /out/exec </dev/null >/dev/null 2>&1";
    node.command("bash")
        .args(["-c", script, "exec", container.id()])
        .output()
        .ok();
    let exec = seen(&container, "/out/exec");
    dump(&container, program, &["--leave-running"]);
    goes_on(&container, "/out/exec", &exec);
    there_and_back(&mut container, program, &[], &[]);
    let ps = container
        .runtime_command()
        .args(["ps", container.id()])
        .output()
        .ok();
    assert!(ps.stdout.contains("/out/workload count"), "{ps:?}");
    assert!(
        !ps.stdout.contains("/out/exec"),
        "it was not in the image: {ps:?}"
    );
}

fn a_container_moved_to_another_cgroup_comes_back(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("moved"))
        .workload(&["count"])
        .start();
    let script = "for folder in /sys/fs/cgroup/*/\"$1\" /sys/fs/cgroup/\"$1\"; do [ -d \"$folder\" ] || continue; \
                  mkdir \"$folder/below\"; for file in cpuset.cpus cpuset.mems; do \
                  [ ! -e \"$folder/$file\" ] || cat \"$folder/$file\" >\"$folder/below/$file\"; done; \
                  echo \"$2\" >\"$folder/below/cgroup.procs\"; done";
    let pid = container.pid().to_string();
    node.command("bash")
        .args(["-euc", script, "move", container.id(), &pid])
        .output()
        .ok();
    let cgroups = |pid: i32| {
        node.run(&["cat", &format!("/proc/{pid}/cgroup")])
            .ok()
            .stdout
    };
    let before = cgroups(container.pid());
    assert!(
        before.contains(&format!("/{}/below", container.id())),
        "{before}"
    );
    there_and_back(&mut container, program, &[], &[]);
    // runc's restore puts the first process into the container's own cgroup.
    assert_eq!(cgroups(container.pid()), before.replace("/below", ""));
}

fn a_container_of_crun_comes_back(program: Program) {
    let node = Node::shared();
    // The real runc cannot read crun's state; crun itself can.
    let program = if program == Program::Runc {
        Program::Crun
    } else {
        program
    };
    for stdio in [Stdio::Null, Stdio::Pipes, Stdio::Terminal] {
        let mut container = Shape::new(node, node.unique("crun"))
            .runtime(Runtime::Crun)
            .stdio(stdio)
            .tmpfs("/scratch", &[])
            .workload(&["threads"])
            .start();
        there_and_back(&mut container, program, &[], &[]);
    }
}

fn a_paused_container_comes_back(program: Program) {
    let node = Node::shared();
    let mut container = Shape::new(node, node.unique("paused"))
        .workload(&["count"])
        .start();
    let before = seen(&container, STATE);
    container
        .runtime_command()
        .args(["pause", container.id()])
        .output()
        .ok();
    dump(&container, program, &["--leave-running"]);
    assert_eq!(container.status(), "paused");
    container
        .runtime_command()
        .args(["resume", container.id()])
        .output()
        .ok();
    goes_on(&container, STATE, &before);
    container.delete().ok();
    restore(&mut container, &[]);
    goes_on(&container, STATE, &before);
}

/// As an orchestrator does it: paused, dumped, ended. runc restores the image with a copy of the files in a bundle of
/// its own, in the pod's namespaces.
fn a_container_of_a_pod_comes_back(program: Program) {
    // A node of its own: a node has one containerd.
    let node = &Node::start();
    let containerd = Containerd::start(node);
    let pod = containerd.pod("shop", COUNT, &[]);
    let shell = |script: &str| {
        node.command("bash")
            .args(["-euc", script, "pod", &pod.bundle(), &pod.pid().to_string()])
            .output()
            .ok();
    };
    shell(
        "for n in $(seq 500); do \
           [ \"$(cat /proc/$2/root/dev/shm/counter 2>/dev/null || echo 0)\" -le 3 ] || exit 0; sleep 0.02; \
         done; exit 1",
    );
    containerd.ctr(&["tasks", "pause", pod.id()]).ok();
    shell(
        "mkdir -p /run/rig/pod/rootfs; cat /proc/$2/root/dev/shm/counter >/run/rig/pod/before; cp -ax /proc/$2/root/. /run/rig/pod/rootfs/; \
         jq '.linux.cgroupsPath = \"/again\"' $1/config.json >/run/rig/pod/config.json",
    );
    pod.checkpoint_command(
        program,
        &["--leave-running", "--image-path", "/run/rig/pod/image"],
    )
    .output()
    .ok();
    containerd
        .ctr(&["tasks", "kill", "--signal", "KILL", pod.id()])
        .ok();
    let script = "\
        runc restore --detach --image-path /run/rig/pod/image --work-path /run/rig/pod/image --bundle /run/rig/pod again \
        </dev/null >/run/rig/pod/said 2>&1 || { cat /run/rig/pod/said >&2; exit 1; }; \
        for n in $(seq 500); do \
          now=$(cat /proc/$(runc state again | jq .pid)/root/dev/shm/counter); [ \"${now:-0}\" -le $(($(cat /run/rig/pod/before) + 5)) ] || exit 0; sleep 0.02; \
        done; exit 2";
    let restored = node.shell(script);
    let _ = node.run(&["runc", "delete", "--force", "again"]);
    restored.ok();
}
