//! Writes what is made from the types: `stillframe-crds DOCS FOLDER…` puts the tables of the reasons and of the fields into the
//! folder of the documentation, and the custom resource definitions into each other folder.
#![forbid(unsafe_code)]
use std::{error::Error, fs, path::PathBuf};
use stillframe_crds::{manifest, reason, reference};

fn main() -> Result<(), Box<dyn Error>> {
    let mut places = std::env::args_os().skip(1).map(PathBuf::from);
    let docs = places.next().ok_or("usage: stillframe-crds DOCS FOLDER…")?;
    fs::write(docs.join("reasons.md"), reason::table())?;
    fs::write(docs.join("reference.md"), reference::page())?;
    for folder in places {
        for (name, definition) in manifest::definitions() {
            fs::write(folder.join(name), serde_saphyr::to_string(&definition)?)?;
        }
    }
    Ok(())
}
