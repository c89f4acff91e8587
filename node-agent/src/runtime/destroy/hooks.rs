//! Runs the hooks that the container's configuration wants run once it is gone.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::runtime::{Container, Flavour, Hook, destroy::Error};

/// The version of the OCI specification that runc 1.5.2 announces to hooks (`specs.Version`).
const OCI_VERSION: &str = "1.3.0";
/// How often a hook with a time limit is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How much of a hook's output an error repeats, in bytes.
const MAX_OUTPUT: u64 = 4096;

/// The OCI state of a container that is gone, as runc writes it: without a pid.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OciState<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    bundle: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

/// Runs every poststop hook in order. Mirrors `runPoststopHooks` of runc, where the first failure
/// ends it; crun goes on to the next.
pub(super) fn run_poststop(container: &Container) -> Result<(), Error> {
    if container.poststop.is_empty() {
        return Ok(());
    }
    let state = oci_state(container);
    let mut outcome = Ok(());
    for (index, hook) in container.poststop.iter().enumerate() {
        let Err(problem) = run(hook, &state) else {
            continue;
        };
        let failed = Err(Error::Hook { index, problem });
        if container.flavour == Flavour::Runc {
            return failed;
        }
        outcome = outcome.and(failed);
    }
    outcome
}

fn oci_state(container: &Container) -> Vec<u8> {
    let annotations = container.annotations.iter().filter(|(key, _)| {
        // runc keeps the bundle among the labels, and takes it out again.
        container.flavour == Flavour::Crun || key != "bundle"
    });
    let state = OciState {
        oci_version: OCI_VERSION,
        id: container.id.as_str(),
        status: "stopped",
        bundle: container
            .bundle
            .as_deref()
            .unwrap_or("".as_ref())
            .display()
            .to_string(),
        annotations: annotations
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
    };
    // Strings and maps of strings can always be written.
    serde_json::to_vec(&state).unwrap_or_default()
}

/// Runs one hook with the state on its standard input. Mirrors `Command.Run` of runc 1.5.2, which
/// sets no working directory.
fn run(hook: &Hook, state: &[u8]) -> Result<(), String> {
    let mut command = Command::new(&hook.path);
    if let Some((zeroth, rest)) = hook.args.split_first() {
        command.arg0(zeroth).args(rest);
    }
    if let Some(env) = &hook.env {
        command
            .env_clear()
            .envs(env.iter().filter_map(|pair| pair.split_once('=')));
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    // Each pipe has a thread, so that a hook that does not read, or writes much, stalls nobody.
    let stdin = child.stdin.take();
    let state = state.to_vec();
    thread::spawn(move || {
        // A hook need not read its input.
        let _ = stdin.map(|mut pipe| pipe.write_all(&state));
    });
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = match wait(&mut child, hook.timeout) {
        Ok(Some(status)) => status,
        Ok(None) => {
            let limit = hook.timeout.unwrap_or_default().as_secs_f64();
            return Err(format!("hook ran past specified timeout of {limit:.1}s"));
        }
        Err(error) => return Err(error.to_string()),
    };
    if status.success() {
        return Ok(());
    }
    let text = |handle: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&handle.join().unwrap_or_default()).into_owned()
    };
    Err(format!(
        "{}, stdout: {}, stderr: {}",
        go_status(status),
        text(stdout),
        text(stderr)
    ))
}

/// Waits for the child; kills and reaps it when its time is over, and answers nothing.
fn wait(
    child: &mut Child,
    limit: Option<Duration>,
) -> io::Result<Option<std::process::ExitStatus>> {
    let Some(limit) = limit else {
        return child.wait().map(Some);
    };
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Reads a pipe to its end, and keeps its beginning.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could not be read is missing in an error text, no more.
            let _ = pipe.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        kept
    })
}

/// An exit status as Go words it.
fn go_status(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<Duration>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook {
            path: "/bin/sh".into(),
            args,
            env: Some(vec!["WHO=me".to_owned()]),
            timeout,
        }
    }

    #[test]
    fn a_hook_reads_the_state_and_sees_its_environment_alone() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!(
            "read -r line; echo \"$line $WHO $HOME\" > {}",
            out.display()
        );
        run(&hook(&script, None), b"{\"id\":1}\n").unwrap();
        assert_eq!(std::fs::read_to_string(out).unwrap(), "{\"id\":1} me \n");
    }

    #[test]
    fn a_hook_that_fails_says_how_in_runcs_words() {
        let error = run(&hook("echo out; echo err >&2; exit 3", None), b"").unwrap_err();
        assert_eq!(error, "exit status 3, stdout: out\n, stderr: err\n");
    }

    #[test]
    fn a_hook_that_does_not_end_is_killed() {
        let limit = Some(Duration::from_millis(50));
        let error = run(&hook("exec sleep 1000", limit), b"").unwrap_err();
        assert_eq!(error, "hook ran past specified timeout of 0.1s");
    }

    #[test]
    fn a_hook_that_reads_nothing_stalls_nobody() {
        let state = vec![b'x'; 1 << 20];
        run(&hook("head -c 2000000 /dev/zero", None), &state).unwrap();
    }
}
