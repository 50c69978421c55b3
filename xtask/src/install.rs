//! `cargo xtask install`: the executables, with no more privilege than they use.
//!
//! Kind: shell. crux-dump and crux-restore belong to root:crux, mode 0750, with file
//! capabilities; crux-image has none and is anybody's.

use crate::cargo::{cargo, succeed, workspace};
use crate::executables::{self, Executable, GROUP};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// They go into DIR/bin
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "file capabilities are root's to give: run it as root"
    );
    succeed(&mut cargo(["build", "--release", "--bins"]))?;
    if !group_exists()? {
        succeed(Command::new("groupadd").args(["--system", GROUP]))?;
    }
    let bin = options.prefix.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("failed to make {}", bin.display()))?;
    for executable in executables::all() {
        place(&bin, &executable)?;
    }
    println!(
        "installed in {}; members of group {GROUP} may dump and restore",
        bin.display()
    );
    Ok(())
}

fn group_exists() -> Result<bool> {
    let found = Command::new("getent").args(["group", GROUP]).output();
    Ok(found.context("failed to start getent")?.status.success())
}

/// Under another name until it is as it has to be: nobody runs it half made.
fn place(bin: &Path, executable: &Executable) -> Result<()> {
    let name = executable.name;
    let built = workspace().join("target/release").join(name);
    let (new, last) = (bin.join(format!(".{name}.new")), bin.join(name));
    fs::copy(&built, &new).with_context(|| format!("failed to copy {}", built.display()))?;
    if executable.capabilities.is_some() {
        succeed(Command::new("chown").arg(format!("root:{GROUP}")).arg(&new))?;
    }
    fs::set_permissions(&new, fs::Permissions::from_mode(executable.mode()))?;
    // A new owner takes capabilities away, so they come last.
    if let Some(capabilities) = &executable.capabilities {
        succeed(Command::new("setcap").arg(capabilities).arg(&new))?;
    }
    fs::rename(&new, &last).with_context(|| format!("failed to make {}", last.display()))
}
