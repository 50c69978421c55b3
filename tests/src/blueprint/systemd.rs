//! A Debian 12 container with systemd in LXC 5, in its stock configuration.
//!
//! Kind: effect.

use super::{BOOT_ID, CAREFUL, CAREFUL_RO, bind_boot_id, share_everything};
use crate::cgroups::{CGROUP_ROOT, Cgroups};
use crate::container::{Container, Site, Spec};
use crate::lab::Lab;
use crate::mounting;
use crate::terminals::Terminals;
use anyhow::Result;
use rustix::mount::MountAttrFlags;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The table, as it was seen.
const TABLE: &str = include_str!("../../../crux-mount/testdata/debian12-systemd-mountinfo.txt");

const PTS: [(&str, &str); 4] = [
    ("gid", "5"),
    ("mode", "620"),
    ("ptmxmode", "666"),
    ("max", "1028"),
];
const PTS_ATTRIBUTES: &str = "rw,nosuid,noexec,relatime";
const CREDENTIALS: [&str; 4] = [
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
];
/// The hierarchies that the container has a part of, as directories of the host.
const HIERARCHIES: [&str; 8] = [
    "unified", "systemd", "cpuset", "memory", "blkio", "freezer", "pids", "devices",
];

/// What of the host's has to stay while the container runs.
#[derive(Debug)]
pub struct Host {
    _terminals: Terminals,
    /// The container's cgroups.
    pub cgroups: Cgroups,
}

/// Where the container's root is, on the host side.
pub fn root(lab: &Lab) -> PathBuf {
    lab.path("lxc/d1/rootfs")
}

/// The table, without the hierarchies that this machine lacks: newer kernels can be without
/// some of version 1.
pub fn table() -> String {
    let present = present();
    let absent = HIERARCHIES.iter().filter(|name| !present.contains(name));
    let places: Vec<_> = absent
        .map(|name| format!(" {CGROUP_ROOT}/{name} "))
        .collect();
    let lines = TABLE.split_inclusive('\n');
    lines
        .filter(|line| !places.iter().any(|place| line.contains(place)))
        .collect()
}

/// Seen from the host side: inside there are none yet.
fn present() -> Vec<&'static str> {
    let there = |name: &&str| Path::new(CGROUP_ROOT).join(name).is_dir();
    HIERARCHIES.into_iter().filter(there).collect()
}

/// Makes the container.
pub fn start(lab: &Lab) -> Result<(Container, Host)> {
    let spec = Spec::new(lab.root("lxc/d1/rootfs")?);
    let cgroups = Cgroups::new(&lab.name(), &present())?;
    let careful = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let terminals = Terminals::new(&PTS, careful, 5)?;
    let build = |site: &Site<'_>| build(site, &terminals);
    let inside = || {
        share_everything()?;
        bind_boot_id()?;
        started(&cgroups)
    };
    let container = Container::start(lab, &spec, build, inside)?;
    let host = Host {
        _terminals: terminals,
        cgroups,
    };
    Ok((container, host))
}

/// What LXC mounts.
fn build(site: &Site<'_>, terminals: &Terminals) -> Result<()> {
    site.mount("tmpfs", "none", "/dev", "rw,relatime", "size=492k,mode=755")?;
    fs::write(
        site.file(BOOT_ID)?,
        "5b1c8b2e-6a0f-4c43-9c5c-3a8f5c6d7e8f\n",
    )?;
    site.mount("proc", "proc", "/proc", CAREFUL, "")?;
    site.bind_own("/proc/sys", "/proc/sys", "ro,relatime")?;
    site.bind_own("/proc/sys/net", "/proc/sys/net", CAREFUL)?;
    let (net, fuse) = ("/sys/devices/virtual/net", "/sys/fs/fuse/connections");
    // Read-only is the mount, not the file system.
    site.mount("sysfs", "sysfs", "/sys", CAREFUL, "")?;
    mounting::attributes(&site.at("/sys"), CAREFUL_RO)?;
    site.bind_own(net, net, CAREFUL)?;
    site.bind(Path::new(fuse), fuse, "rw,relatime")?;
    terminals.attach(&site.directory("/dev/pts")?)?;
    site.bind_own("/dev/pts/ptmx", "/dev/ptmx", PTS_ATTRIBUTES)?;
    for (number, name) in [
        (0, "console"),
        (1, "tty1"),
        (2, "tty2"),
        (3, "tty3"),
        (4, "tty4"),
    ] {
        let from = format!("/dev/pts/{number}");
        site.bind_own(&from, &format!("/dev/lxc/{name}"), PTS_ATTRIBUTES)?;
    }
    site.bind_own("/dev/pts/0", "/dev/console", PTS_ATTRIBUTES)
}

/// What systemd mounts in the container, after it has shared everything. The
/// host's cgroups are reached through mounts that are made for that and go again.
fn started(cgroups: &Cgroups) -> Result<()> {
    let site = Site::inside();
    site.mount("tmpfs", "tmpfs", "/dev/shm", "rw,nosuid,nodev", "")?;
    let run = "size=4936820k,nr_inodes=819200,mode=755";
    site.mount("tmpfs", "tmpfs", "/run", "rw,nosuid,nodev", run)?;
    site.mount("tmpfs", "tmpfs", "/run/lock", CAREFUL, "size=5120k")?;
    hierarchies(&site, cgroups)?;
    let pages = "pagesize=2M";
    site.mount(
        "hugetlbfs",
        "hugetlbfs",
        "/dev/hugepages",
        "rw,relatime",
        pages,
    )?;
    site.mount("mqueue", "mqueue", "/dev/mqueue", CAREFUL, "")?;
    CREDENTIALS
        .iter()
        .try_for_each(|unit| credentials(&site, unit))
}

fn hierarchies(site: &Site<'_>, cgroups: &Cgroups) -> Result<()> {
    let top = "/sys/fs/cgroup";
    let attributes = "rw,nosuid,nodev,noexec";
    site.mount(
        "tmpfs",
        "tmpfs",
        top,
        attributes,
        "size=4096k,nr_inodes=1024,mode=755",
    )?;
    for path in cgroups.paths() {
        let hierarchy = path.parent().and_then(Path::file_name);
        let name = hierarchy.and_then(OsStr::to_str).unwrap_or_default();
        let (fs, options) = match name {
            "unified" => ("cgroup2", String::new()),
            "systemd" => ("cgroup", "none,name=systemd".into()),
            controller => ("cgroup", controller.into()),
        };
        // The whole hierarchy, for the time of one bind.
        site.mount(fs, fs, "/tmp/hierarchy", CAREFUL, &options)?;
        let own = path.file_name().unwrap_or_default();
        let from = site.at("/tmp/hierarchy").join(own);
        site.bind(&from, &format!("{top}/{name}"), CAREFUL)?;
        mounting::detach(&site.at("/tmp/hierarchy"))?;
        // A bind of a shared mount is its peer; its group is now its own.
    }
    mounting::superblock_read_only(&site.at(top), "ro,nosuid,nodev,noexec")
}

fn credentials(site: &Site<'_>, unit: &str) -> Result<()> {
    let at = format!("/run/credentials/{unit}");
    site.mount("ramfs", "ramfs", &at, CAREFUL, "mode=700")?;
    fs::write(site.at(&at).join("tmpfiles.extra"), "")?;
    mounting::attributes(&site.at(&at), CAREFUL_RO)
}
