//! A root directory for a container: a handful of directories and busybox.
//!
//! Kind: effect.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const DIRECTORIES: [&str; 9] = [
    "bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr",
];
const PROGRAMS: [&str; 18] = [
    "cat", "chmod", "cut", "find", "grep", "ls", "mkdir", "mkfifo", "mount", "readlink", "rm",
    "sh", "stat", "touch", "true", "umount", "unshare", "wc",
];

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Fills `root` with what a container needs to run a shell.
pub(crate) fn fill(root: &Path) -> Result<()> {
    if root.join("bin/busybox").exists() {
        return Ok(());
    }
    for name in DIRECTORIES {
        let path = root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("mkdir({path:?})"))?;
    }
    fs::copy(busybox()?, root.join("bin/busybox")).context("failed to copy busybox")?;
    for name in PROGRAMS {
        symlink("busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("etc/hostname"), "u1\n")?;
    Ok(())
}

/// It has to be static: nothing else of the machine is in the container.
fn busybox() -> Result<PathBuf> {
    match BUSYBOX
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
    {
        Some(path) => Ok(path),
        None => bail!("there is no busybox: `apt-get install busybox-static`"),
    }
}
