//! Removes from parents what a complete image holds anew.

use std::{path::Path, process::Stdio};

use crate::checkpoint::Engine;

/// Runs `criu dedup` on an image, and says what it said when it fails. The image and its parents
/// can be restored either way.
pub(super) fn run(engine: &Engine, image: &Path) -> Result<(), String> {
    let failed = |said: &str| format!("autoDedup left the parents as they were: {said}");
    let command = engine.launch.command();
    let output = command
        .map_err(|error| failed(&error.to_string()))?
        .args(["dedup", "--no-default-config", "-D"])
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(&error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().last().unwrap_or("it gave no reason")))
}
