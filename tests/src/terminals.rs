//! Terminals whose masters the host side holds, as LXC does for a container.
//!
//! Kind: effect.

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::IoSliceMut;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// An instance of devpts that is mounted nowhere yet, and the masters of its first ptys.
#[derive(Debug)]
pub struct Terminals {
    mount: OwnedFd,
    _masters: Vec<OwnedFd>,
}

impl Terminals {
    /// Makes an instance with `count` ptys, numbered from 0.
    pub fn new(options: &[(&str, &str)], attributes: MountAttrFlags, count: usize) -> Result<Self> {
        let fs = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen(devpts)")?;
        fsconfig_set_string(&fs, "source", "devpts")?;
        for (key, value) in options {
            fsconfig_set_string(&fs, *key, *value).with_context(|| format!("{key}={value}"))?;
        }
        fsconfig_create(&fs)?;
        let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let masters = (0..count)
            .map(|_| open_master(&mount))
            .collect::<Result<_>>()?;
        Ok(Self {
            mount,
            _masters: masters,
        })
    }

    /// Attaches the instance. The children that a lab forks can do it as well as
    /// the lab itself, but only one of them.
    pub fn attach(&self, at: &Path) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let here = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        move_mount(&self.mount, "", &here, at, flags).with_context(|| format!("move_mount({at:?})"))
    }
}

fn open_master(mount: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(mount, "ptmx", flags, Mode::empty()).context("open(ptmx)")
}

/// A master that is handed over to who listens (`SCM_RIGHTS`); none if whoever connects sends none.
pub fn receive(listener: &UnixListener) -> Result<Option<File>> {
    let (stream, _) = listener.accept()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    let mut parts = [IoSliceMut::new(&mut name)];
    recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut found = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    Ok(found.next().map(File::from))
}
