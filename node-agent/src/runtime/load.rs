//! From a state directory to a [`Container`]: which files, opened how, read how far.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::runtime::{
    Container, ContainerId, Error,
    cgroup::{self, Version},
    crun, runc,
};

/// runc's state file.
const RUNC_STATE: &str = "state.json";
/// crun's state file.
const CRUN_STATUS: &str = "status";
/// The OCI configuration: of a bundle, and crun's copy beside its state.
const CONFIG: &str = "config.json";
/// Where a privileged process sees the host's files.
const INIT_ROOT: &str = "/proc/1/root";
/// Largest state file that is read. A pod with hundreds of mounts and a large environment stays
/// below 1 MiB.
const MAX_STATE_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the state of `id` below `root`: runc's `state.json`, else crun's `status` and
/// `config.json`. Mirrors `Load` of runc 1.5.2, but looks at no process and no cgroup: ask
/// [`Container::status`] for that.
///
/// # Errors
/// [`Error::NotFound`] when neither file is there, with runc's text; anything else names the file
/// and, where there is one, the field.
pub fn load(root: &Path, id: &ContainerId) -> Result<Container, Error> {
    let state_dir = absolute(root).join(id.as_str());
    let file = state_dir.join(RUNC_STATE);
    if let Some(value) = read_json(&file)? {
        let container = runc::parse(&state_dir, id, &file, &value)?;
        if container.systemd_cgroup() && !systemd_runs() {
            return Err(Error::SystemdNotRunning);
        }
        return Ok(container);
    }
    let status_file = state_dir.join(CRUN_STATUS);
    let Some(status) = read_json(&status_file)? else {
        return Err(Error::NotFound { state_dir });
    };
    let config_file = state_dir.join(CONFIG);
    let Some(config) = read_json(&config_file)? else {
        let source = io::Error::from_raw_os_error(libc::ENOENT);
        return Err(Error::Open {
            file: config_file,
            source,
        });
    };
    let hierarchies = match cgroup::version() {
        Version::V2 => crun::Hierarchies::Unified,
        Version::V1 | Version::Hybrid => crun::Hierarchies::PerController(cgroup::controllers()),
    };
    crun::parse(&crun::State {
        dir: &state_dir,
        id,
        status: (&status_file, &status),
        config: (&config_file, &config),
        hierarchies: &hierarchies,
    })
}

/// The OCI configuration that a container was started with, byte for byte: of its bundle where that is recorded, else crun's copy. In
/// a pod an engine's bundles may be seen below the root of the host's first process alone.
///
/// # Errors
/// It is nowhere, or cannot be read.
pub fn oci_config(container: &Container) -> Result<Vec<u8>, Error> {
    let bundle = container.bundle.as_deref();
    let through_init =
        bundle.map(|bundle| Path::new(INIT_ROOT).join(bundle.strip_prefix("/").unwrap_or(bundle)));
    let dirs = [
        bundle.map(Path::to_owned),
        through_init,
        Some(container.state_dir.clone()),
    ];
    let mut file = container.state_dir.join(CONFIG);
    for dir in dirs.into_iter().flatten() {
        file = dir.join(CONFIG);
        if let Some(bytes) = read_capped(&file)? {
            return Ok(bytes);
        }
    }
    let source = io::Error::from_raw_os_error(libc::ENOENT);
    Err(Error::Open { file, source })
}

/// Reads a JSON file; `None` when it does not exist.
pub(super) fn read_json(file: &Path) -> Result<Option<Value>, Error> {
    let Some(bytes) = read_capped(file)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Syntax {
            file: file.to_owned(),
            empty: bytes.iter().all(u8::is_ascii_whitespace),
            source,
        })
}

/// Reads a regular file up to the bound. Links, FIFOs and devices in its place are refused: a
/// reader that is root must not be sent elsewhere, or be kept waiting.
fn read_capped(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    let open = |source| Error::Open {
        file: file.to_owned(),
        source,
    };
    let read = |source| Error::Read {
        file: file.to_owned(),
        source,
    };
    let handle: File = match opened {
        Ok(handle) => handle,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open(error)),
    };
    let kind = handle.metadata().map_err(read)?.file_type();
    if kind.is_dir() {
        return Err(read(io::Error::from_raw_os_error(libc::EISDIR)));
    }
    if !kind.is_file() {
        return Err(open(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let mut bytes = Vec::new();
    handle
        .take(MAX_STATE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    if bytes.len() as u64 > MAX_STATE_BYTES {
        return Err(Error::TooLarge {
            file: file.to_owned(),
            limit: MAX_STATE_BYTES,
        });
    }
    Ok(Some(bytes))
}

/// Makes a path absolute by the working directory, which an empty one means (`reviseRootDir` of
/// runc), without looking at links. Without a working directory it stays as it is, and the open
/// that follows says why.
fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Mirrors `IsRunningSystemd` of runc's cgroups library.
fn systemd_runs() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|meta| meta.is_dir())
}
