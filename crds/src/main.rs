//! Writes the custom resource definitions into a folder: `stillframe-crds FOLDER`.
#![forbid(unsafe_code)]
use std::{error::Error, fs, path::PathBuf};
use stillframe_crds::manifest;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("usage: stillframe-crds FOLDER")?
        .into();
    for (name, definition) in manifest::definitions() {
        fs::write(folder.join(name), serde_saphyr::to_string(&definition)?)?;
    }
    Ok(())
}
