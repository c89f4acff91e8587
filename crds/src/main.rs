//! Writes what is made from the types: `stillframe-crds TABLE FOLDER…` puts the reasons into a file
//! and the custom resource definitions into each folder.
#![forbid(unsafe_code)]
use std::{error::Error, fs, path::PathBuf};
use stillframe_crds::{manifest, reason};

fn main() -> Result<(), Box<dyn Error>> {
    let mut places = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(table) = places.next() else {
        return Err("usage: stillframe-crds TABLE FOLDER…".into());
    };
    fs::write(table, reason::table())?;
    for folder in places {
        for (name, definition) in manifest::definitions() {
            fs::write(folder.join(name), serde_saphyr::to_string(&definition)?)?;
        }
    }
    Ok(())
}
