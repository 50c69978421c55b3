//! The container of the request of March 2015: LXC 1.1 on Ubuntu Vivid.
//!
//! Kind: effect. Five of its 21 mounts are slaves of peer groups of the host.

use super::{CAREFUL, CAREFUL_RO};
use crate::container::{Container, Program, Site, Spec};
use crate::lab::Lab;
use crate::mounting::{self, Depth, Kind};
use crate::table::Table;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The table, as it was posted.
pub const TABLE: &str = include_str!("../../../crux-mount/testdata/vivid-mountinfo.txt");

/// The host's kernel file systems that the container gets: type, place, attributes.
pub const HOST_MOUNTS: [(&str, &str, &str); 4] = [
    ("fusectl", "/sys/fs/fuse/connections", "rw,relatime"),
    ("debugfs", "/sys/kernel/debug", "rw,relatime"),
    ("securityfs", "/sys/kernel/security", CAREFUL),
    ("pstore", "/sys/fs/pstore", CAREFUL),
];

/// `SOURCE:TARGET` for each of the five masters, as `--slave-mount-map` takes it.
pub fn slave_mount_maps(lab: &Lab) -> Vec<String> {
    let root = format!("{}:/", lab.scratch().display());
    let others = HOST_MOUNTS.iter().map(|(_, at, _)| format!("{at}:{at}"));
    std::iter::once(root).chain(others).collect()
}

/// The file of /proc that the container gets read-only. A kernel without
/// CONFIG_MAGIC_SYSRQ lacks the one of the request; any other does as well.
pub fn trigger() -> &'static str {
    ["/proc/sysrq-trigger", "/proc/uptime"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("/proc/version")
}

/// Where the container's root is, on the host side.
pub fn root(lab: &Lab) -> PathBuf {
    lab.path("lxc/u1/rootfs")
}

/// Makes the host's mounts, and the container. The lab has to share its mounts.
pub fn start(lab: &Lab) -> Result<Container> {
    start_with(lab, Program::Cat, || Ok(()))
}

/// The same, with another program in it; `inside` runs before that does.
pub fn start_with(
    lab: &Lab,
    program: Program,
    inside: impl FnOnce() -> Result<()>,
) -> Result<Container> {
    make_host_side(lab).context("failed to make the host side")?;
    let mut spec = Spec::new(lab.root("lxc/u1/rootfs")?);
    spec.program = program;
    Container::start(lab, &spec, |site| build(lab, site), inside)
}

fn make_host_side(lab: &Lab) -> Result<()> {
    let host = Table::own()?;
    for (fs, at, attributes) in HOST_MOUNTS {
        // Where the machine has it already, the same again would be EBUSY.
        if host.0.iter().any(|entry| entry.mountpoint == at) {
            mounting::detach(Path::new(at))?;
        }
        mounting::new(fs, fs, Path::new(at), attributes, "")?;
    }
    // The host's own tmpfs, which nothing is tied to.
    let run = lab.path("run");
    fs::create_dir_all(&run)?;
    mounting::new("tmpfs", "tmpfs", &run, "rw", "mode=755")?;
    mounting::propagation(&run, Kind::Private, Depth::One)?;
    let manager = run.join("cgmanager");
    fs::create_dir_all(&manager)?;
    fs::write(manager.join("sock"), "")?;
    Ok(())
}

fn build(lab: &Lab, site: &Site<'_>) -> Result<()> {
    site.mount("tmpfs", "none", "/dev", "rw,relatime", "size=100k,mode=755")?;
    fs::write(site.file("/dev/.lxc-note")?, "kept across the restore\n")?;
    proc(site)?;
    sys(site)?;
    cgroup(lab, site)?;
    let pts = "gid=5,mode=620,ptmxmode=666";
    site.mount("devpts", "devpts", "/dev/pts", "rw,relatime", pts)?;
    run(site)
}

fn proc(site: &Site<'_>) -> Result<()> {
    site.mount("proc", "proc", "/proc", CAREFUL, "")?;
    let trigger = trigger();
    site.bind_own("/proc/sys", "/proc/sys", CAREFUL_RO)?;
    site.bind_own("/proc/sys/net", "/proc/sys/net", CAREFUL)?;
    site.bind_own(trigger, trigger, CAREFUL_RO)
}

fn sys(site: &Site<'_>) -> Result<()> {
    let net = "/sys/devices/virtual/net";
    site.mount("sysfs", "sysfs", "/sys", CAREFUL, "")?;
    site.bind_own("/sys", "/sys", CAREFUL_RO)?;
    site.bind_own("/sys", net, "rw,relatime")?;
    site.mount("sysfs", "sysfs", "/mnt", CAREFUL, "")?;
    // `net` now shows the root of sysfs: the directory is reached from elsewhere.
    site.bind_own("/mnt/devices/virtual/net", net, CAREFUL)?;
    mounting::detach(&site.at("/mnt"))?;
    for (_, at, attributes) in HOST_MOUNTS {
        site.bind(Path::new(at), at, attributes)?;
    }
    Ok(())
}

fn cgroup(lab: &Lab, site: &Site<'_>) -> Result<()> {
    let top = "/sys/fs/cgroup";
    site.mount("tmpfs", "cgroup", top, "rw,relatime", "size=12k,mode=755")?;
    let manager = "/sys/fs/cgroup/cgmanager";
    site.bind(&lab.path("run/cgmanager"), manager, "rw")
}

fn run(site: &Site<'_>) -> Result<()> {
    let attributes = "rw,nosuid,noexec,relatime";
    site.mount("tmpfs", "none", "/run", attributes, "size=199952k,mode=755")?;
    site.mount("tmpfs", "none", "/run/lock", CAREFUL, "size=5120k")?;
    site.mount("tmpfs", "none", "/run/shm", "rw,nosuid,nodev,relatime", "")?;
    site.mount(
        "tmpfs",
        "none",
        "/run/user",
        CAREFUL,
        "size=102400k,mode=755",
    )
}
