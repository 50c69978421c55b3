//! The host side of a test: a process with a private copy of the machine's mounts.
//!
//! Kind: effect. What is mounted here is gone when the process ends, however it
//! ends, as nothing else is in its namespace but its own descendants.

use crate::cgroups;
use crate::mounting::{self, Depth, Kind};
use crate::programs::Programs;
use crate::sys::in_child;
use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getpid, getuid};
use std::fs;
use std::path::{Path, PathBuf};

/// What the host side may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Real root.
    Root,
    /// Root of a user namespace with one id.
    UserNamespace,
}

/// How the host's own mounts propagate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Each mount is in a peer group, as systemd has it.
    Shared,
    /// None is.
    Private,
}

/// What a lab is like.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Whose rights it has.
    pub rights: Rights,
    /// How its mounts propagate.
    pub sharing: Sharing,
}

impl Setup {
    /// A host like one that systemd has started.
    pub const ROOT: Self = Self {
        rights: Rights::Root,
        sharing: Sharing::Shared,
    };
    /// A user namespace of an ordinary user.
    pub const USERNS: Self = Self {
        rights: Rights::UserNamespace,
        sharing: Sharing::Private,
    };
}

/// The host side, from within.
#[derive(Debug)]
pub struct Lab {
    scratch: PathBuf,
    /// The executables under test.
    pub programs: Programs,
}

/// Directories that every Debian machine has and nobody keeps anything in.
const SCRATCH: [&str; 4] = ["/srv", "/media", "/opt", "/mnt"];

impl Lab {
    /// Runs a test in a lab, and panics with what went wrong there.
    pub fn test(setup: Setup, test: impl FnOnce(&Self) -> Result<()>) {
        let outcome = Self::run(setup, |lab| test(lab).map(|()| Vec::new()));
        if let Err(error) = outcome {
            panic!("{error:#}");
        }
    }

    /// Runs `job` in a lab and hands back its answer.
    pub fn run(setup: Setup, job: impl FnOnce(&Self) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        Self::with_programs(setup, Programs::find()?, job)
    }

    /// The same, with executables that are elsewhere.
    pub fn with_programs(
        setup: Setup,
        programs: Programs,
        job: impl FnOnce(&Self) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        in_child(|| {
            let lab = Self::enter(setup, programs).context("failed to make the lab")?;
            job(&lab)
        })
    }

    fn enter(setup: Setup, programs: Programs) -> Result<Self> {
        match setup.rights {
            Rights::Root => {
                ensure!(getuid().is_root(), "this needs real root");
                unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
            }
            Rights::UserNamespace => enter_user_namespace()?,
        }
        let top = Path::new("/");
        mounting::propagation(top, Kind::Private, Depth::Tree)?;
        if setup.sharing == Sharing::Shared {
            mounting::propagation(top, Kind::Shared, Depth::Tree)?;
        }
        let scratch = make_scratch()?;
        Ok(Self { scratch, programs })
    }

    /// A directory for everything that the test makes: a tmpfs of the lab's own.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A name that no other lab on this machine uses.
    pub fn name(&self) -> String {
        format!("crux-lab-{}", getpid())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        cgroups::sweep_of(&self.name());
    }
}

fn enter_user_namespace() -> Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .context("unshare(CLONE_NEWUSER|CLONE_NEWNS)")?;
    fs::write("/proc/self/setgroups", "deny").context("setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("uid_map")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("gid_map")
}

fn make_scratch() -> Result<PathBuf> {
    let Some(place) = SCRATCH.iter().map(Path::new).find(|place| place.is_dir()) else {
        bail!("none of {SCRATCH:?} is a directory");
    };
    mounting::new("tmpfs", "scratch", place, "rw,relatime", "mode=755")?;
    Ok(place.to_owned())
}
