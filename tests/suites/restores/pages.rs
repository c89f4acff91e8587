//! Pages that go elsewhere: to a page server, or to whoever asks for them.

use std::time::Duration;

use nix::sys::signal::Signal;
use rig::container::Runtime;
use rig::node::Job;
use rig::pipe_limit::PIPE_LIMIT;
use rig::shown::Outcome;
use rig::{Container, Node, PipeLimit, Program, Shape};

use crate::journey::{STATE, Subject, dump, goes_on, restore, seen};

on_every_runtime! {
    pages_go_to_a_page_server_and_come_back
}

fn pages_go_to_a_page_server_and_come_back(subject: Subject) {
    let (node, program) = (Node::shared(), subject.program);
    for (address, host) in [("127.0.0.2", "127.0.0.2"), ("::1", "[::1]")] {
        let name = node.unique("paged");
        // Several of these run at a time.
        let number = name.rsplit('-').next().and_then(|n| n.parse::<u16>().ok());
        let port = (28_000 + number.expect("a number") % 1000).to_string();
        let written = format!("{host}:{port}");
        let mut container = subject.shape("paged").workload(&["memory"]).start();
        let before = seen(&container, STATE);
        let folder = format!("/run/rig/{name}-pages");
        node.shell(&format!("mkdir {folder}")).ok();
        let server = node
            .command("criu")
            .args([
                "page-server",
                "--address",
                address,
                "--port",
                &port,
                "--images-dir",
                &folder,
            ])
            .spawn();
        node.shell(&format!(
            "for n in $(seq 500); do ! ss -Hltn 'sport = :{port}' | grep -q . || exit 0; sleep 0.02; done; exit 1"
        ))
        .ok();
        dump(&container, program, &["--page-server", &written]);
        server.output().ok();
        let image = node.path(container.bundle()).join("image");
        let pages = |folder: &std::path::Path| {
            let names = std::fs::read_dir(folder).expect("a folder").flatten();
            names
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("pages-"))
                .count()
        };
        assert_eq!(pages(&image), 0, "no pages are written here");
        assert!(pages(&node.path(&folder)) > 0);
        node.shell(&format!("cp {folder}/* {}/image/", container.bundle()))
            .ok();
        restore(&mut container, &[]);
        goes_on(&container, STATE, &before);
    }
    subject.shown("page-server");
}

fn on_runc(program: Program) -> Subject {
    Subject {
        program,
        runtime: Runtime::Runc,
    }
}

/// Where lazy pages are served.
const SERVER: &str = "127.0.0.1:27300";
/// The port of that.
const PORT: &str = "27300";
/// How long a part of the lazy sequence may take.
const LAZY_PATIENCE: Duration = Duration::from_secs(50);

#[test]
#[ignore = "needs the node root: run make test"]
fn pages_are_fetched_lazily() {
    // A node of its own: the limit and the ports are for one at a time.
    let node = &Node::start();
    let Some(_limit) = PipeLimit::raise(node) else {
        for option in ["lazy-pages", "status-fd"] {
            let lacks = format!("a writable {PIPE_LIMIT}, or CAP_SYS_RESOURCE");
            on_runc(Program::Ours).found(option, Outcome::Lacks(lacks));
        }
        eprintln!(
            "not run: needs a writable {PIPE_LIMIT}, or CAP_SYS_RESOURCE; the request itself is compared in the suite `wire`"
        );
        return;
    };
    for program in [Program::Runc, Program::Ours] {
        let container = Shape::new(node, format!("lazy-{program:?}").to_lowercase())
            .workload(&["memory", "--mib", "8"])
            .start();
        let before = seen(&container, STATE);
        let dump = serve(node, &container, program);
        let restored = format!("{}-again", container.id());
        fetch(node, &container, &restored);
        goes_on(&container, STATE, &before);
        assert_eq!(dump.output().ok().stdout, "");
        assert_eq!(container.status(), "gone");
        node.run(&["runc", "delete", "--force", &restored]).ok();
        on_runc(program).shown("lazy-pages");
        on_runc(program).shown("status-fd");
    }
}

/// Starts a dump that serves its pages, and waits until it says so.
fn serve<'node>(node: &'node Node, container: &Container<'_>, program: Program) -> Job<'node> {
    let job = node
        .command("bash")
        .args(["-c", "exec \"$@\" 7>status", "lazy", &program.command(node)])
        .args([
            "--root",
            "/run/runc",
            "checkpoint",
            "--image-path",
            "image",
            "--lazy-pages",
        ])
        .args(["--page-server", SERVER, "--status-fd", "7", container.id()])
        .cwd(container.bundle())
        .timeout(LAZY_PATIENCE)
        .spawn();
    let ready = "for n in $(seq 1000); do [ \"$(stat -c %s status)\" != 1 ] || exit 0; sleep 0.02; done; exit 1";
    let ready = node
        .command("bash")
        .args(["-c", ready])
        .cwd(container.bundle())
        .output();
    if !ready.succeeded() {
        job.kill(Signal::SIGKILL, true);
        panic!("{program:?} never said that it serves: {:?}", job.output());
    }
    let status = node.path(container.bundle()).join("status");
    assert_eq!(std::fs::read(status).expect("the status file"), [0]);
    job
}

/// Restores the container under another id, with its pages fetched from the old processes, which stand still.
fn fetch(node: &Node, container: &Container<'_>, restored: &str) {
    let image = format!("{}/image", container.bundle());
    let pages = node
        .command("criu")
        .args([
            "lazy-pages",
            "--page-server",
            "--address",
            "127.0.0.1",
            "--port",
            PORT,
        ])
        .args([
            "--images-dir",
            &image,
            "--work-dir",
            &image,
            "-vv",
            "-o",
            "lazy.log",
        ])
        .timeout(LAZY_PATIENCE)
        .spawn();
    node.shell(&format!(
        "for n in $(seq 500); do [ ! -S {image}/lazy-pages.socket ] || exit 0; sleep 0.02; done; exit 1"
    ))
    .ok();
    let script = "exec runc restore --detach --lazy-pages --image-path \"$1\" --work-path \"$1\" \
                  --bundle \"$2\" \"$3\" </dev/null >/dev/null 2>&1";
    node.command("bash")
        .args([
            "-c",
            script,
            "restore",
            &image,
            container.bundle(),
            restored,
        ])
        .output()
        .ok();
    pages.output().ok();
}
