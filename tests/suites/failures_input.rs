//! Input that makes no sense: an error that says so, and nothing else happens.

use rig::scene::Does;
use rig::{Node, Program, Scene, Shape};

/// Shell commands, where `$PROG` is the command up to and with the verb, and what their errors say.
const CASES: &[(&str, &str)] = &[
    ("$PROG", r#"\"checkpoint\" requires exactly 1 argument(s)"#),
    (
        "$PROG input input",
        r#"\"checkpoint\" requires exactly 1 argument(s)"#,
    ),
    ("$PROG ''", "container id cannot be empty"),
    ("$PROG nobody", "container does not exist"),
    ("$PROG ../input", "invalid container ID format"),
    (
        "$PROG created",
        "Container cannot be checkpointed in created state",
    ),
    (
        "$PROG stopped",
        "Container cannot be checkpointed in stopped state",
    ),
    (
        "$PROG --image-path i --parent-path /parent input",
        "--parent-path must be relative",
    ),
    (
        "$PROG --image-path i --parent-path ../none input",
        "invalid --parent-path",
    ),
    (
        "$PROG --image-path i --parent-path ../file input",
        "invalid --parent-path",
    ),
    ("$PROG --image-path file input", "file: not a directory"),
    (
        "$PROG --image-path file/below input",
        "file: not a directory",
    ),
    (
        "$PROG --image-path i --work-path file input",
        "not a directory",
    ),
    (
        "$PROG --image-path i --work-path no/such input",
        "no such file or directory",
    ),
    (
        "$PROG --image-path i --page-server 10.0.0.1 input",
        "Use --page-server ADDRESS:PORT to specify page server",
    ),
    (
        "$PROG --image-path i --page-server 127.0.0.1:x input",
        "Invalid port number",
    ),
    (
        "$PROG --image-path i --manage-cgroups-mode Soft input",
        "invalid manage-cgroups-mode value",
    ),
    (
        "$PROG --image-path i --empty-ns ipc input",
        r#"namespace \"ipc\" is not supported"#,
    ),
    (
        "$PROG --image-path i --lazy-pages --page-server 127.0.0.1:27000 --status-fd 99 input",
        "invalid --status-fd argument 99: bad file descriptor",
    ),
    (
        "$PROG --image-path i --lazy-pages --page-server 127.0.0.1:27000 --status-fd 8 input 8</dev/null",
        "invalid --status-fd argument 8: not writable",
    ),
    // CRIU takes the low 16 bits for the port, where nobody listens.
    (
        "$PROG --image-path i --page-server 127.0.0.1:70000 input",
        "Can't connect to server",
    ),
    (
        "$PROG --image-path i --page-server 127.0.0.1:9 input",
        "Can't connect to server",
    ),
    (
        "$PROG --image-path i --page-server 10.99.0.1:9 input",
        "Can't connect to server",
    ),
    (
        "$PROG --image-path i --network-lock none input",
        "for flag -network-lock: use auto, iptables, nftables or skip",
    ),
];

#[test]
#[ignore = "needs the node root: run make test"]
fn bad_input_is_refused_by_name_and_the_container_goes_on() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "input", Does::Counts);
    let other = scene.target.bundle().to_owned();
    let created = Shape::new(node, "created").prepare();
    let verb = ["create", "--bundle", created.bundle(), "created"];
    created.runtime_command().args(verb).output().ok();
    let stopped = Shape::new(node, "stopped")
        .args(&["/bin/sleep", "0"])
        .start();
    let until = std::time::Instant::now() + rig::node::PATIENCE;
    while stopped.status() != "stopped" {
        assert!(std::time::Instant::now() < until, "it never ends");
    }
    node.shell(&format!("mkdir -p {other}/parent; echo x >{other}/file"))
        .ok();
    scene.look();
    for (line, says) in CASES {
        let program = format!(
            "{} --root /run/runc checkpoint",
            Program::Ours.command(node)
        );
        let line = line.replace("$PROG", &program);
        let output = node
            .command("bash")
            .args(["-c", &line])
            .cwd(&other)
            .output();
        assert_eq!(output.status, 1, "{line}: {output:#?}");
        assert!(output.stderr.contains(says), "{line}: {output:#?}");
        assert!(output.stderr.contains("level=error"), "{line}: {output:#?}");
        scene.must_be_unharmed(&line);
    }
    assert_eq!(
        (created.status(), stopped.status()),
        ("created".to_owned(), "stopped".to_owned())
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn port_nought_means_no_page_server_as_in_runc() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "nought", Does::Counts);
    for program in [Program::Runc, Program::Ours] {
        let image = scene.fresh_image();
        let flags = [
            "--leave-running",
            "--page-server",
            "127.0.0.1:0",
            "--image-path",
            &image,
        ];
        scene.target.checkpoint(program, &flags).ok();
        assert!(node.path(&image).join("pages-1.img").exists());
        scene.must_be_unharmed("port 0");
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_number_that_another_process_has_now_is_refused_and_that_process_left_alone() {
    let node = &Node::start();
    let mut scene = Scene::new(node, "reused", Does::Counts);
    let file = "/run/runc/reused/state.json";
    let sibling = scene.sibling.pid();
    let edits = [
        // Another process, with the start that was recorded.
        format!(".init_process_pid = {sibling}"),
        // The same number, started at another time.
        ".init_process_start = (.init_process_start | tonumber + 1)".to_owned(),
        // Nobody.
        ".init_process_pid = 4194303".to_owned(),
    ];
    for edit in edits {
        node.shell(&format!(
            "cp {file} /tmp/kept; jq -c '{edit}' /tmp/kept >{file}"
        ))
        .ok();
        let image = scene.fresh_image();
        let output = scene
            .target
            .checkpoint(Program::Ours, &["--image-path", &image]);
        node.shell(&format!("cp /tmp/kept {file}")).ok();
        assert_eq!(output.status, 1, "{edit}: {output:#?}");
        let says = "Container cannot be checkpointed in stopped state";
        assert!(output.stderr.contains(says), "{edit}: {output:#?}");
        scene.must_be_unharmed(&edit);
    }
}
