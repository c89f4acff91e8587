//! What this CRIU can do beyond the protocol's feature check, remembered between runs.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::Instant,
};

use serde::{Deserialize, Serialize};

use super::{launch::Launch, process::Process};

/// The cache's name in its folder.
const FILE_NAME: &str = "criu-abilities.json";
/// A cache of ours is far smaller.
const SIZE_LIMIT: u64 = 4096;

/// What a CRIU binary can do on this kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// It can lock the network with nftables: it is built with libnftables and can talk to the
    /// kernel's. CRIU does not fall back to iptables by itself.
    pub nftables_lock: bool,
}

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: i64,
    mtime_nanoseconds: i64,
    kernel: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: Key,
    abilities: Abilities,
}

impl Abilities {
    /// Asks `criu check`, or the cache in `folder` when binary and kernel are those it was asked
    /// of. Where CRIU cannot be asked until then, it is taken to be able to do nothing, which is
    /// not remembered. The cache never makes this fail.
    #[must_use]
    pub fn of(launch: &Launch, folder: Option<&Path>, until: Instant) -> Self {
        let key = key_of(launch);
        if let (Some(folder), Some(key)) = (folder, &key)
            && let Some(known) = load(folder, key)
        {
            return known;
        }
        let Some(abilities) = ask(launch, until) else {
            return Self::default();
        };
        if let (Some(folder), Some(key)) = (folder, key) {
            // A cache that cannot be written costs time, no more.
            let _ = store(folder, &Entry { key, abilities });
        }
        abilities
    }
}

fn ask(launch: &Launch, until: Instant) -> Option<Abilities> {
    let arguments = ["check", "--feature", "network_lock_nftables"];
    let mut check = Process::command(launch, &arguments).ok()?;
    let status = check.wait(until).ok()??;
    Some(Abilities {
        nftables_lock: status.success(),
    })
}

fn key_of(launch: &Launch) -> Option<Key> {
    let about = launch.metadata()?;
    Some(Key {
        dev: about.dev(),
        ino: about.ino(),
        size: about.size(),
        mtime: about.mtime(),
        mtime_nanoseconds: about.mtime_nsec(),
        kernel: nix::sys::utsname::uname()
            .ok()?
            .release()
            .to_string_lossy()
            .into_owned(),
    })
}

fn load(folder: &Path, key: &Key) -> Option<Abilities> {
    let path = folder.join(FILE_NAME);
    let about = fs::symlink_metadata(&path).ok()?;
    if !about.is_file() || about.len() > SIZE_LIMIT {
        return None;
    }
    let entry: Entry = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (entry.key == *key).then_some(entry.abilities)
}

fn store(folder: &Path, entry: &Entry) -> std::io::Result<()> {
    let scratch = folder.join(format!("{FILE_NAME}.{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&scratch)?;
    let written = file
        .write_all(&serde_json::to_vec(entry)?)
        .and_then(|()| fs::rename(&scratch, folder.join(FILE_NAME)));
    if written.is_err() {
        let _ = fs::remove_file(&scratch);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, process::Command, time::Duration};

    use super::*;

    fn script(folder: &Path, text: &str) -> Launch {
        let program = folder.join("criu");
        // By another process: a program that this one holds open for writing, or a child that
        // another test has just forked from it, cannot be executed.
        let write = "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\"";
        let status = Command::new("sh")
            .args(["-c", write])
            .arg(&program)
            .arg(text)
            .status();
        assert!(status.unwrap().success());
        Launch {
            program,
            ..Launch::default()
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn an_answer_is_remembered_until_the_binary_changes() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked");
        let text = |status| format!("#!/bin/sh\necho $* >>{}\nexit {status}\n", asked.display());
        let launch = script(folder.path(), &text(0));
        let of = |launch: &Launch| Abilities::of(launch, Some(folder.path()), soon());
        assert!(of(&launch).nftables_lock);
        assert!(of(&launch).nftables_lock);
        assert_eq!(
            fs::read_to_string(&asked).unwrap(),
            "check --feature network_lock_nftables\n"
        );
        let launch = script(folder.path(), &text(12));
        assert!(!of(&launch).nftables_lock);
    }

    #[test]
    fn a_spoiled_cache_is_asked_anew_and_a_missing_folder_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let launch = script(folder.path(), "#!/bin/sh\nexit 0\n");
        fs::write(folder.path().join(FILE_NAME), "{\"key\":").unwrap();
        assert!(Abilities::of(&launch, Some(folder.path()), soon()).nftables_lock);
        let missing = PathBuf::from("/nonexistent/folder");
        assert!(Abilities::of(&launch, Some(&missing), soon()).nftables_lock);
    }

    #[test]
    fn no_criu_can_do_nothing() {
        let launch = Launch {
            program: "/nonexistent/criu".into(),
            ..Launch::default()
        };
        assert_eq!(Abilities::of(&launch, None, soon()), Abilities::default());
    }
}
