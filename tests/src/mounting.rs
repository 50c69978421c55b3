//! mount(2) with the words that mountinfo uses.
//!
//! Kind: effect. One call or two for each function; every error names them.

use crate::lingering::Lingering;
use crate::sys;
use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Whether a call is for one mount or for the tree below it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// This mount alone.
    One,
    /// It and everything mounted in it.
    Tree,
}

impl Depth {
    fn flag(self) -> MsFlags {
        match self {
            Self::One => MsFlags::empty(),
            Self::Tree => MsFlags::MS_REC,
        }
    }
}

/// A propagation type (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MS_SHARED
    Shared,
    /// MS_SLAVE
    Slave,
    /// MS_PRIVATE
    Private,
    /// MS_UNBINDABLE
    Unbindable,
}

/// Mounts a new file system; `attributes` are those of the mount, as mountinfo shows them.
pub fn new(fs: &str, source: &str, at: &Path, attributes: &str, options: &str) -> Result<()> {
    let flags = flags(attributes)?;
    let options = (!options.is_empty()).then_some(options);
    mount(Some(source), at, Some(fs), flags, options)
        .with_context(|| format!("mount({source:?}, {at:?}, {fs:?}, {attributes}, {options:?})"))
}

/// Binds `from` at `at`.
pub fn bind(from: &Path, at: &Path, depth: Depth) -> Result<()> {
    let flags = MsFlags::MS_BIND | depth.flag();
    mount(Some(from), at, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("mount({from:?}, {at:?}, MS_BIND, {depth:?})"))
}

/// Gives the mount at `at` exactly these attributes.
pub fn attributes(at: &Path, attributes: &str) -> Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags(attributes)?;
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("mount({at:?}, MS_REMOUNT|MS_BIND, {attributes})"))
}

/// Makes the superblock behind `at` read-only, and the mount with the same attributes as given.
pub fn superblock_read_only(at: &Path, attributes: &str) -> Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags(attributes)?;
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("mount({at:?}, MS_REMOUNT|MS_RDONLY, {attributes})"))
}

/// Changes the propagation type.
pub fn propagation(at: &Path, kind: Kind, depth: Depth) -> Result<()> {
    let flag = match kind {
        Kind::Shared => MsFlags::MS_SHARED,
        Kind::Slave => MsFlags::MS_SLAVE,
        Kind::Private => MsFlags::MS_PRIVATE,
        Kind::Unbindable => MsFlags::MS_UNBINDABLE,
    };
    mount(
        None::<&str>,
        at,
        None::<&str>,
        flag | depth.flag(),
        None::<&str>,
    )
    .with_context(|| format!("mount({at:?}, {kind:?}, {depth:?})"))
}

/// Moves a mount.
pub fn relocate(from: &Path, at: &Path) -> Result<()> {
    mount(Some(from), at, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .with_context(|| format!("mount({from:?}, {at:?}, MS_MOVE)"))
}

/// Takes the topmost mount at `at` away, with what is mounted in it.
pub fn detach(at: &Path) -> Result<()> {
    umount2(at, MntFlags::MNT_DETACH).with_context(|| format!("umount2({at:?}, MNT_DETACH)"))
}

/// Mounts a new tmpfs, with a file of this name in it, beneath the topmost mount at `at`.
pub fn tuck_beneath(at: &Path, file: &str) -> Result<()> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen(tmpfs)")?;
    fsconfig_set_string(&context, "source", "tucked")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RELATIME;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount")?;
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(&mount, file, create, Mode::RUSR)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_BENEATH;
    move_mount(&mount, "", CWD, at, flags)
        .with_context(|| format!("move_mount({at:?}, MOVE_MOUNT_BENEATH)"))
}

/// Mounts a file system whose superblock has a flag: `sync`, `dirsync` or `lazytime`.
pub fn with_superblock_flag(fs: &str, at: &Path, flag: &str) -> Result<()> {
    let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen")?;
    fsconfig_set_string(&context, "source", flag)?;
    fsconfig_set_flag(&context, flag).with_context(|| format!("fsconfig({flag})"))?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RELATIME;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", CWD, at, flags).with_context(|| format!("move_mount({at:?})"))
}

/// Mounts an overlay of many lower directories, each given by itself (`lowerdir+`, Linux 6.7).
pub fn overlay(lower: &[PathBuf], upper: &Path, work: &Path, at: &Path) -> Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen(overlay)")?;
    let lower = lower.iter().map(|path| ("lowerdir+", path.as_path()));
    for (key, path) in lower.chain([("upperdir", upper), ("workdir", work)]) {
        fsconfig_set_string(&context, key, path)
            .with_context(|| format!("fsconfig({key}, {path:?})"))?;
    }
    fsconfig_create(&context).context("fsconfig(create)")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RELATIME;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", CWD, at, flags).with_context(|| format!("move_mount({at:?})"))
}

/// Makes the mount at `at`, which becomes private before, a peer of the one at `member`.
pub fn join_group(member: &Path, at: &Path) -> Result<()> {
    propagation(at, Kind::Private, Depth::One)?;
    move_mount(CWD, member, CWD, at, MoveMountFlags::MOVE_MOUNT_SET_GROUP)
        .with_context(|| format!("move_mount({member:?}, {at:?}, MOVE_MOUNT_SET_GROUP)"))?;
    Ok(())
}

/// Binds `from` at `at`, its ids shown through a map of users and groups as in /proc/PID/uid_map.
pub fn bind_idmapped(from: &Path, at: &Path, map: &str) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, from, flags).with_context(|| format!("open_tree({from:?})"))?;
    sys::map_ids(&mount, &user_namespace(map)?).with_context(|| format!("idmap {map:?}"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&mount, "", CWD, at, flags).with_context(|| format!("move_mount({at:?})"))
}

/// A user namespace with this map, which lives as long as the descriptor.
fn user_namespace(map: &str) -> Result<File> {
    let member = Lingering::start(|| Ok(unshare(CloneFlags::CLONE_NEWUSER)?))?;
    for kind in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{kind}", member.pid());
        fs::write(&path, map).with_context(|| format!("write({path})"))?;
    }
    Ok(File::open(format!("/proc/{}/ns/user", member.pid()))?)
}

/// MS_NOSYMFOLLOW, which nix does not name.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

fn flags(attributes: &str) -> Result<MsFlags> {
    let mut flags = MsFlags::empty();
    let mut atime = MsFlags::MS_STRICTATIME;
    for word in attributes.split(',') {
        match word {
            "rw" => {}
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "noatime" => atime = MsFlags::MS_NOATIME,
            "relatime" => atime = MsFlags::MS_RELATIME,
            "nosymfollow" => flags |= NOSYMFOLLOW,
            _ => bail!("no such attribute of a mount: {word}"),
        }
    }
    Ok(flags | atime)
}
