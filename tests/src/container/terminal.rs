//! A container's standard streams: pipes, and the terminal that a runtime hands over through a socket.

use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;

use super::{Stdio, Streams};
use crate::node::job::{null, pipe};
use crate::node::{Invocation, Node, Output, PATIENCE};
use crate::wire::receive;

/// Finishes and runs a runtime's `run --detach` or `restore --detach`, which lacks only the streams and the id.
///
/// The container inherits the command's own streams, so what the command says must go to its log instead.
pub(super) fn start(
    node: &Node,
    command: Invocation<'_>,
    stdio: Stdio,
    id: &str,
) -> (Output, Streams) {
    let name = node.unique("start");
    match stdio {
        Stdio::Null | Stdio::Pipes => {
            let (streams, [input, output, errors]) = ends(stdio);
            let output = command
                .arg(id)
                .stdin(input)
                .spawn_with(output, errors)
                .output();
            (output, streams)
        }
        Stdio::Terminal => {
            // A socket's path may have 107 bytes only; the descriptor of its folder is short.
            let folder = File::open(node.path("")).expect("the node's scratch folder");
            let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
            let listener = UnixListener::bind(&path).expect("a socket for the terminal");
            let output = command
                .args(["--console-socket", &format!("/run/rig/{name}")])
                .arg(id)
                .timeout(PATIENCE)
                .output();
            let terminal = output.succeeded().then(|| accept(&listener));
            fs::remove_file(node.path(&name)).expect("the socket's name can be removed");
            (
                output,
                Streams {
                    terminal,
                    ..Streams::default()
                },
            )
        }
    }
}

/// The test's ends of the streams, and the container's.
fn ends(stdio: Stdio) -> (Streams, [OwnedFd; 3]) {
    if stdio != Stdio::Pipes {
        return (Streams::default(), [null(), null(), null()]);
    }
    let (input, to_stdin) = pipe();
    let (from_stdout, output) = pipe();
    let (from_stderr, errors) = pipe();
    let streams = Streams {
        stdin: Some(to_stdin),
        stdout: Some(from_stdout),
        stderr: Some(from_stderr),
        terminal: None,
    };
    (streams, [input, output, errors])
}

fn accept(listener: &UnixListener) -> OwnedFd {
    let (socket, _) = listener
        .accept()
        .expect("the runtime connected before it ended");
    let (_, mut fds) = receive(&socket).expect("the runtime sent the terminal's master");
    fds.pop().expect("the message holds the terminal's master")
}
