//! Writes what is made from the types: `stillframe-crds FOLDER TABLE` puts the custom resource
//! definitions into a folder and the reasons into a file.
#![forbid(unsafe_code)]
use std::{error::Error, fs, path::PathBuf};
use stillframe_crds::{manifest, reason};

fn main() -> Result<(), Box<dyn Error>> {
    let mut places = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(table)) = (places.next(), places.next()) else {
        return Err("usage: stillframe-crds FOLDER TABLE".into());
    };
    for (name, definition) in manifest::definitions() {
        fs::write(folder.join(name), serde_saphyr::to_string(&definition)?)?;
    }
    fs::write(table, reason::table())?;
    Ok(())
}
