//! Tells what tests have shown of each option: `print` for people, `write` into `docs/compatibility.md`.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use rig::shown::{read, table};

/// What a run of all tests leaves when it came to its end.
const COMPLETE: &str = "complete";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["print", folder] => print(Path::new(folder)).map(|_| ()),
        ["print", "--whole", folder] => whole(Path::new(folder)),
        ["write", folder, page] => write(Path::new(folder), Path::new(page)),
        _ => {
            eprintln!(
                "usage: rig-matrix print [--whole] FOLDER | rig-matrix write FOLDER PAGE; FOLDER holds what tests have noted"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("matrix: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what is there, and returns the options of runc's that are missing.
fn print(folder: &Path) -> Result<Vec<&'static str>, String> {
    let cells = read(folder)?;
    print!("{}", table::text(&table::rows(&cells)));
    Ok(table::unshown(&cells))
}

/// The same after a run of all tests, which must have shown every option of runc's, or what is missing for it.
fn whole(folder: &Path) -> Result<(), String> {
    let unshown = print(folder)?;
    if unshown.is_empty() {
        let complete = folder.join(COMPLETE);
        return fs::write(&complete, "")
            .map_err(|error| format!("failed to write {}: {error}", complete.display()));
    }
    Err(format!(
        "no test brought a container back with {}, or said what is missing for that",
        unshown.join(", ")
    ))
}

/// Writes the table of a run of all tests into a page.
fn write(folder: &Path, page: &Path) -> Result<(), String> {
    if !folder.join(COMPLETE).exists() {
        return Err(format!(
            "{} does not hold what a run of all tests has noted: `make test` makes it",
            folder.display()
        ));
    }
    let rows = table::rows(&read(folder)?);
    let text = fs::read_to_string(page)
        .map_err(|error| format!("failed to read {}: {error}", page.display()))?;
    let text = table::into_page(&text, &table::markdown(&rows))?;
    fs::write(page, text).map_err(|error| format!("failed to write {}: {error}", page.display()))
}
