//! What tests have shown of each option: a test whose assertions have passed notes a cell of the matrix, and `rig-matrix` prints it.
//!
//! A cell is a line of JSON in a file of this process, in the folder that `STILLFRAME_SHOWN` names: `target/shown` when
//! `tests/rig/test` runs everything. Without it the folder is another, so that a single test spoils no such record.

pub mod options;
mod place;
pub mod table;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, process};

use serde::{Deserialize, Serialize};

pub use place::Place;

/// Which way the option was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum How {
    /// The command, on the container's node.
    Command,
    /// A `ContainerCheckpoint` in a cluster.
    Object,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// The container came back from its image with its memory and went on, and the option had made its difference.
    Restored,
    /// The same by CRIU's own command, since the runtime's own `restore` does not ask CRIU for what it takes.
    RestoredByCriu,
    /// The dump succeeded and the option had made its difference; the image was not restored.
    Dumped,
    /// CRIU was asked for it, and no more was tried.
    Sent,
    /// It cannot be here: the feature of the kernel, of CRIU or of the runtime that is missing.
    Lacks(String),
}

/// One thing that was shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// The option, by its name in [`options::ALL`].
    pub option: String,
    /// Where.
    pub place: Place,
    /// Which way.
    pub how: How,
    /// With what success.
    pub outcome: Outcome,
    /// The day, in UTC: `2026-11-29`.
    pub date: String,
}

/// Notes that an option was shown. Called once all assertions about it have passed.
///
/// What is missing is a word or two, for instance `soft-dirty page tracking in the kernel`.
pub fn record(option: &str, place: &Place, how: How, outcome: Outcome) {
    static FILE: OnceLock<Mutex<File>> = OnceLock::new();
    assert!(
        options::ALL.iter().any(|listed| listed.name == option),
        "`{option}` is no option of the matrix, see rig::shown::options"
    );
    let cell = Cell {
        option: option.to_owned(),
        place: place.clone(),
        how,
        outcome,
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
    };
    let line = serde_json::to_string(&cell).expect("a cell is JSON") + "\n";
    let file = FILE.get_or_init(|| Mutex::new(own_file()));
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.write_all(line.as_bytes())
        .expect("a cell can be noted");
}

/// Where cells are noted: what `STILLFRAME_SHOWN` names, else `shown-by-some` in the folder that this was built in.
#[must_use]
pub fn folder() -> PathBuf {
    if let Some(folder) = env::var_os("STILLFRAME_SHOWN") {
        return folder.into();
    }
    let this = env::current_exe().expect("the path of this process");
    // target/PROFILE/PROGRAM, and deps between the last two for a test.
    let built_in = this.ancestors().find(|folder| {
        folder
            .file_name()
            .is_some_and(|name| name == "debug" || name == "release")
    });
    let target = built_in.and_then(Path::parent).unwrap_or_else(|| {
        panic!(
            "{} is in no target folder: set STILLFRAME_SHOWN",
            this.display()
        )
    });
    target.join("shown-by-some")
}

/// The file of this process, which no earlier one of the same name has.
fn own_file() -> File {
    let folder = folder();
    fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("failed to make {}: {error}", folder.display()));
    let this = env::current_exe().expect("the path of this process");
    let name = this.file_name().unwrap_or_default().to_string_lossy();
    let now = jiff::Timestamp::now().as_millisecond();
    let path = folder.join(format!("{name}-{now}-{}.jsonl", process::id()));
    File::create(&path).unwrap_or_else(|error| panic!("failed to make {}: {error}", path.display()))
}

/// All cells that were noted in a folder.
///
/// # Errors
///
/// A sentence that names the file: one cannot be read, or holds something else.
pub fn read(folder: &Path) -> Result<Vec<Cell>, String> {
    let listed = fs::read_dir(folder)
        .map_err(|error| format!("failed to read {}: {error}", folder.display()))?;
    let mut cells = Vec::new();
    for path in listed.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|end| end != "jsonl") {
            continue;
        }
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        for (line, number) in text.lines().zip(1..) {
            let cell: Cell = serde_json::from_str(line)
                .map_err(|error| format!("{}:{number}: {error}", path.display()))?;
            cells.push(cell);
        }
    }
    Ok(cells)
}
