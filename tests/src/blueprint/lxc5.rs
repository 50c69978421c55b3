//! A busybox container of LXC 5 on Debian 12, in its default configuration.
//!
//! Kind: effect. It shares the host's net namespace, so it runs no network set-up.

use super::{BOOT_ID, CAREFUL, bind_boot_id, share_everything};
use crate::container::{Container, Site, Spec};
use crate::lab::Lab;
use crate::table::Table;
use crate::terminals::Terminals;
use anyhow::Result;
use nix::sched::CloneFlags;
use rustix::mount::MountAttrFlags;
use std::fs;
use std::path::{Path, PathBuf};

/// The table, as it was seen.
pub const TABLE: &str = include_str!("../../../crux-mount/testdata/debian12-lxc5-mountinfo.txt");

const PTS: [(&str, &str); 4] = [
    ("gid", "5"),
    ("mode", "620"),
    ("ptmxmode", "666"),
    ("max", "6"),
];
const PTS_ATTRIBUTES: &str = "rw,nosuid,noexec,relatime";

/// Where the container's root is, on the host side.
pub fn root(lab: &Lab) -> PathBuf {
    lab.path("lxc/u1/rootfs")
}

/// Makes the container. The terminals live as long as what is returned with it.
pub fn start(lab: &Lab) -> Result<(Container, [Terminals; 2])> {
    let mut spec = Spec::new(lab.root("lxc/u1/rootfs")?);
    spec.namespaces.remove(CloneFlags::CLONE_NEWNET);
    let careful = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let ttys = Terminals::new(&PTS, careful, 5)?;
    let console = host_console(lab)?;
    let build = |site: &Site<'_>| build(lab, site, &ttys);
    let inside = || share_everything().and_then(|()| bind_boot_id());
    let container = Container::start(lab, &spec, build, inside)?;
    Ok((container, [ttys, console]))
}

/// A devpts of the host's, which the container's console comes from. It has the options of
/// the machine's own: that is where the restored console comes from.
fn host_console(lab: &Lab) -> Result<Terminals> {
    let host = Table::own()?;
    let machines = host
        .at("/dev/pts")
        .map_or("mode=600,ptmxmode=000", |entry| &entry.options);
    let pairs = machines
        .split(',')
        .filter_map(|option| option.split_once('='));
    let options: Vec<_> = pairs.collect();
    let terminals = Terminals::new(&options, MountAttrFlags::empty(), 1)?;
    let at = lab.path("pts");
    fs::create_dir_all(&at)?;
    terminals.attach(&at)?;
    Ok(terminals)
}

fn build(lab: &Lab, site: &Site<'_>, ttys: &Terminals) -> Result<()> {
    site.mount("tmpfs", "none", "/dev", "rw,relatime", "size=492k,mode=755")?;
    fs::write(
        site.file(BOOT_ID)?,
        "5b1c8b2e-6a0f-4c43-9c5c-3a8f5c6d7e8f\n",
    )?;
    site.mount("proc", "proc", "/proc", CAREFUL, "")?;
    site.bind_own("/proc/sys", "/proc/sys", "ro,relatime")?;
    site.bind_own("/proc/sys/net", "/proc/sys/net", CAREFUL)?;
    site.mount("sysfs", "sysfs", "/sys", "ro,relatime", "")?;
    site.mount("tmpfs", "shm", "/dev/shm", "rw,relatime", "")?;
    site.mount("mqueue", "mqueue", "/dev/mqueue", "rw,relatime", "")?;
    libraries(site)?;
    let security = "/sys/kernel/security";
    site.bind_own(security, security, "ro,relatime")?;
    site.mount("proc", "proc", "/dev/.lxc/proc", "rw,relatime", "")?;
    site.mount("sysfs", "sys", "/dev/.lxc/sys", "rw,relatime", "")?;
    terminals(lab, site, ttys)
}

/// The host's /lib is a symlink on a merged /usr: both come from /usr/lib.
fn libraries(site: &Site<'_>) -> Result<()> {
    for (from, at) in [
        ("/usr/lib", "/lib"),
        ("/usr/lib", "/usr/lib"),
        ("/usr/lib64", "/lib64"),
        ("/usr/lib64", "/usr/lib64"),
    ] {
        site.bind(Path::new(from), at, "ro,relatime")?;
    }
    Ok(())
}

fn terminals(lab: &Lab, site: &Site<'_>, ttys: &Terminals) -> Result<()> {
    ttys.attach(&site.directory("/dev/pts")?)?;
    site.bind_own("/dev/pts/ptmx", "/dev/ptmx", PTS_ATTRIBUTES)?;
    site.bind(&lab.path("pts/0"), "/dev/console", "rw,relatime")?;
    for number in 0..5 {
        let from = format!("/dev/pts/{number}");
        site.bind_own(&from, &format!("/dev/tty{}", number + 1), PTS_ATTRIBUTES)?;
    }
    Ok(())
}
