//! The root directory of a Debian system with systemd, made once and kept.
//!
//! Kind: effect. It is in cargo's target directory, made by debootstrap from the
//! mirror; each container gets a copy.

use crate::programs::Running;
use anyhow::{Context as _, Result, ensure};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
const PACKAGES: &str = "systemd,systemd-sysv,dbus";

/// Makes `root` such a directory. It should be in memory: that is where debootstrap is quick.
pub(crate) fn fill(root: &Path) -> Result<()> {
    let kept = kept()?;
    if kept.is_dir() {
        return copy(&kept, root);
    }
    make(root)?;
    keep(root, &kept)
}

/// Where it is kept: beside the directory of the profile that is being tested.
fn kept() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().find(|at| at.join("CACHEDIR.TAG").exists());
    let target = target.context("this test is not in cargo's target directory")?;
    Ok(target.join("rootfs").join(SUITE))
}

fn make(root: &Path) -> Result<()> {
    let include = format!("--include={PACKAGES}");
    let options = ["--variant=minbase", &include, SUITE].map(OsStr::new);
    let places = [root.as_os_str(), OsStr::new(MIRROR)];
    run("/usr/sbin/debootstrap", options.into_iter().chain(places))
}

/// Renamed when it is complete: several tests may be at it at the same time.
fn keep(root: &Path, kept: &Path) -> Result<()> {
    let unfinished = kept.with_extension(std::process::id().to_string());
    fs::create_dir_all(kept.parent().unwrap_or(kept))?;
    copy(root, &unfinished)?;
    if fs::rename(&unfinished, kept).is_err() {
        // Another test was faster.
        fs::remove_dir_all(&unfinished)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run("/bin/cp", [OsStr::new("-a"), from.as_ref(), to.as_ref()])
}

fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    let needed = || format!("{program} is needed: `apt-get install debootstrap`");
    let output = Running::start(Path::new(program), arguments).with_context(needed)?;
    let output = output.finish()?;
    ensure!(
        output.status.success(),
        "{program}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        output.stderr
    );
    Ok(())
}
