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

/// Makes `root` a copy.
pub(crate) fn copy(root: &Path) -> Result<()> {
    let kept = kept()?;
    if !kept.is_dir() {
        make(&kept)?;
    }
    run("/bin/cp", [OsStr::new("-a"), kept.as_ref(), root.as_ref()])
}

/// Where it is kept: beside the directory of the profile that is being tested.
fn kept() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().find(|at| at.join("CACHEDIR.TAG").exists());
    let target = target.context("this test is not in cargo's target directory")?;
    Ok(target.join("rootfs").join(SUITE))
}

/// Renamed when it is complete: several tests may be at it at the same time.
fn make(kept: &Path) -> Result<()> {
    let unfinished = kept.with_extension(std::process::id().to_string());
    fs::create_dir_all(&unfinished)?;
    let include = format!("--include={PACKAGES}");
    let arguments = ["--variant=minbase", &include, SUITE].map(OsStr::new);
    let made = run(
        "/usr/sbin/debootstrap",
        arguments
            .into_iter()
            .chain([unfinished.as_ref(), OsStr::new(MIRROR)]),
    );
    let result = made.and_then(|()| match fs::rename(&unfinished, kept) {
        // Another test was faster.
        Err(_) if kept.is_dir() => Ok(()),
        renamed => Ok(renamed?),
    });
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    result
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
