//! The shared libraries that programs of this machine load.
//!
//! Kind: effect.

use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// Those of these programs, and what loads them, by path.
pub(crate) fn of<S: AsRef<OsStr>>(programs: &[S]) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("ldd");
    command.args(programs);
    // It fails if one is a script or static, and goes on.
    let answer = command.output().context("failed to start ldd")?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let missing = text.lines().find(|line| line.contains("not found"));
    if let Some(line) = missing {
        bail!("ldd: {}", line.trim());
    }
    let words = text.lines().filter(|line| line.starts_with('\t'));
    let paths = words.filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}
