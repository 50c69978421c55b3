//! Debian packages that a command needs: there, installed now, or named.
//!
//! Kind: shell. A new machine with Rust needs nothing installed by hand: as root
//! what is missing is installed, otherwise the one command that does it is printed.

use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;
use std::process::Command;

/// A package, and files of which one shows that it is there.
pub(crate) struct Package {
    name: &'static str,
    files: &'static [&'static str],
}

const fn package(name: &'static str, files: &'static [&'static str]) -> Package {
    Package { name, files }
}

/// What the demo makes its container with.
pub(crate) const DEMO: &[Package] = &[
    package("busybox-static", &["/bin/busybox", "/usr/bin/busybox"]),
    package("util-linux", &["/usr/bin/nsenter"]),
];

/// What the root tier makes containers with, its own, and those of LXC and runc; and the runtimes that are
/// restored in them.
pub(crate) const CONTAINERS: &[Package] = &[
    package(
        "iproute2",
        &["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"],
    ),
    package("busybox-static", &["/bin/busybox", "/usr/bin/busybox"]),
    package("libcap2-bin", &["/sbin/setcap", "/usr/sbin/setcap"]),
    package("util-linux", &["/usr/bin/nsenter"]),
    package("e2fsprogs", &["/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"]),
    package("lxc", &["/usr/bin/lxc-start"]),
    package("lxc-templates", &["/usr/share/lxc/templates/lxc-busybox"]),
    package("debootstrap", &["/usr/sbin/debootstrap"]),
    package("runc", &["/usr/sbin/runc", "/usr/bin/runc"]),
    package("python3", &["/usr/bin/python3"]),
    package("default-jdk-headless", &["/usr/bin/javac"]),
    package("golang-go", &["/usr/bin/go"]),
    package("nodejs", &["/usr/bin/node"]),
    package("redis-server", &["/usr/bin/redis-server"]),
];

/// What the files of a virtual machine are made with.
pub(crate) const MACHINE: &[Package] = &[
    package(
        "iproute2",
        &["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"],
    ),
    package("busybox-static", &["/bin/busybox", "/usr/bin/busybox"]),
    package("libcap2-bin", &["/sbin/setcap", "/usr/sbin/setcap"]),
    package("util-linux", &["/usr/bin/nsenter"]),
    package("xz-utils", &["/usr/bin/xz"]),
    package("git", &["/usr/bin/git"]),
    package(
        "debian-archive-keyring",
        &["/usr/share/keyrings/debian-archive-keyring.gpg"],
    ),
];

/// Sees to it that `packages` are there.
pub(crate) fn ensure_installed(packages: &[Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "{} missing: `apt-get install {}`",
            are(&missing),
            missing.join(" ")
        );
    }
    println!("=== installing {}", missing.join(" "));
    apt(&["update", "-qq"])?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    apt(&[&install[..], &missing].concat())
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    let there = |package: &Package| package.files.iter().any(|file| Path::new(file).exists());
    let missing = packages.iter().filter(|package| !there(package));
    missing.map(|package| package.name).collect()
}

fn are(missing: &[&str]) -> &'static str {
    if missing.len() == 1 {
        "a package is"
    } else {
        "packages are"
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments);
    let status = command.status().context("failed to run apt-get")?;
    ensure!(
        status.success(),
        "apt-get {}: {status}",
        arguments.join(" ")
    );
    Ok(())
}
