//! The archive of a small mount, made without starting `tar` and `gzip`.
//!
//! CRIU keeps the content of every tmpfs mount of a container in an archive and starts `tar`, which
//! starts `gzip`, once per mount while the container stands still. A container's own tmpfs mounts
//! (`/dev`, masked directories) hold a few directories, links, device nodes and small files: for
//! those this program, found by CRIU under the name `tar` in front of its `PATH`, writes the same
//! archive in a fraction of the time. For anything else (a large file, a hard link, a long name, an
//! argument that CRIU does not use) it becomes the real `tar`.
#![forbid(unsafe_code)]

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

mod entries;

pub use entries::{Entries, Error};

/// The name under which CRIU starts the archiver.
pub const NAME: &str = "tar";

/// The program that is the archiver and nothing else.
const PROGRAM: &str = "stillframe-archiver";

/// The arguments with which CRIU asks for an archive of the directory at its standard input.
///
/// Mirrors `tmpfs_dump` in CRIU's `criu/filesystems.c`, the same from 3.16 to 4.2.
const CREATE: [&str; 12] = [
    "--create",
    "--gzip",
    "--no-unquote",
    "--no-wildcards",
    "--one-file-system",
    "--check-links",
    "--preserve-permissions",
    "--sparse",
    "--numeric-owner",
    "--directory",
    "/proc/self/fd/0",
    ".",
];

/// Whether this process was started under the archiver's name.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Runs as `tar`: writes the archive to standard output, or becomes the real `tar`.
///
/// Returns only when the archive is written, or nothing could be done at all.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    if arguments == CREATE {
        // An error has written nothing yet: the real tar may still do it, and explains itself.
        if let Ok(entries) = Entries::read(Path::new("/proc/self/fd/0"))
            && let Ok(archive) = entries.gzip()
        {
            return match io::Write::write_all(&mut io::stdout().lock(), &archive) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
    }
    let Some(real) = real_tar() else {
        eprintln!("tar: not found in $PATH");
        return ExitCode::from(127);
    };
    let failure = Command::new(&real).args(arguments).exec();
    eprintln!("tar: failed to start {}: {failure}", real.display());
    ExitCode::from(126)
}

/// The first `tar` in `PATH` that is not this binary.
fn real_tar() -> Option<PathBuf> {
    let ours = fs::canonicalize("/proc/self/exe").ok()?;
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(NAME))
        .find(|tar| fs::canonicalize(tar).is_ok_and(|found| found != ours))
}

/// Puts a folder with the archiver under the name `tar` in `run_dir`, for the front of CRIU's `PATH`.
///
/// The archiver is the program `stillframe-archiver` beside this one where that is installed, which
/// starts fastest, and otherwise this binary, which has to heed [`is_called`].
///
/// # Errors
/// What kept the folder or the link from being made; the caller goes on without.
pub fn install(run_dir: &Path) -> io::Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let alone = ours.with_file_name(PROGRAM);
    let archiver = if alone.is_file() { alone } else { ours };
    let folder = run_dir.join("bin");
    let link = folder.join(NAME);
    if fs::read_link(&link).is_ok_and(|target| target == archiver) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    let fresh = folder.join(format!("{NAME}.{}", std::process::id()));
    std::os::unix::fs::symlink(&archiver, &fresh)?;
    fs::rename(&fresh, &link)?;
    Ok(folder)
}
