//! `--metrics FILE`: what a command counted.

use std::path::Path;

use crate::error::{Error, Result};
use crate::metrics::{Snapshot, to_json, to_prometheus};

/// Writes `snapshots` to `path`, if there is one: Prometheus text for `.prom`, else JSON.
pub fn write(path: Option<&Path>, snapshots: &[Snapshot]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let page = match path.extension().is_some_and(|e| e == "prom") {
        true => to_prometheus(snapshots),
        false => to_json(snapshots) + "\n",
    };
    std::fs::write(path, page).map_err(|e| Error::io(path.display(), &e))
}
