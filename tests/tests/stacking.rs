//! Mounts over mounts: stacks, covered trees, mounts on what is no directory.

use crux_tests::mounting::{self, Depth};
use crux_tests::scenario::{Case, all_survive};
use crux_tests::{Enter, Setup, Site};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

fn tmpfs(site: &Site<'_>, at: &str, file: &str) -> anyhow::Result<()> {
    site.mount("tmpfs", "stack", at, "rw,relatime", "")?;
    Ok(fs::write(site.at(at).join(file), file)?)
}

const CASES: &[Case] = &[
    Case {
        name: "three mounts on one mountpoint",
        build: |_, site| {
            tmpfs(site, "/a", "first")?;
            tmpfs(site, "/a", "second")?;
            tmpfs(site, "/a", "third")
        },
        workload: "test -f /a/third; test ! -e /a/second; grep -q third /a/third",
        ..Case::PLAIN
    },
    Case {
        name: "a stack of binds of one file system",
        build: |_, site| {
            tmpfs(site, "/a", "kept")?;
            site.directory("/a/x/y")?;
            site.bind(&site.at("/a/x"), "/a/x", "ro,relatime")?;
            site.bind(&site.at("/a"), "/a/x", "rw,nosuid,relatime")?;
            site.bind(&site.at("/a"), "/a", "rw,nodev,relatime")
        },
        workload: "test -f /a/kept; test -d /a/x/y",
        ..Case::PLAIN
    },
    Case {
        name: "a mount over a directory that holds other mounts",
        build: |_, site| {
            tmpfs(site, "/a/b/c", "deep")?;
            tmpfs(site, "/a/d", "beside")?;
            tmpfs(site, "/a", "cover")
        },
        workload: "test -f /a/cover; test ! -e /a/b",
        ..Case::PLAIN
    },
    Case {
        name: "mounts over a file, a fifo and a socket",
        build: |_, site| {
            tmpfs(site, "/a", "source")?;
            site.file("/on/file")?;
            nix::unistd::mkfifo(&site.at("/on/fifo"), nix::sys::stat::Mode::S_IRWXU)?;
            drop(UnixListener::bind(site.at("/on/socket"))?);
            for over in ["file", "fifo", "socket"] {
                let to = site.at("/on").join(over);
                mounting::bind(&site.at("/a/source"), &to, Depth::One)?;
            }
            Ok(())
        },
        workload: "for f in file fifo socket; do grep -q source /on/$f; done",
        ..Case::PLAIN
    },
    Case {
        name: "a fifo and a socket over files",
        build: |_, site| {
            tmpfs(site, "/a", "plain")?;
            nix::unistd::mkfifo(&site.at("/a/fifo"), nix::sys::stat::Mode::S_IRWXU)?;
            drop(UnixListener::bind(site.at("/a/socket"))?);
            for name in ["fifo", "socket"] {
                let to = site.file(&format!("/on/{name}"))?;
                mounting::bind(&site.at("/a").join(name), &to, Depth::One)?;
            }
            Ok(())
        },
        workload: "test -p /on/fifo; test -S /on/socket",
        ..Case::PLAIN
    },
    Case {
        name: "an overmounted tmpfs whose contents matter",
        build: |_, site| {
            tmpfs(site, "/a", "beneath")?;
            site.directory("/a/sub")?;
            fs::write(site.at("/a/sub/deep"), "deep")?;
            tmpfs(site, "/a/sub", "over")?;
            tmpfs(site, "/a", "top")?;
            site.bind(&site.at("/a"), "/b", "rw,relatime")
        },
        workload: "test -f /a/top; test -f /b/top",
        ..Case::PLAIN
    },
    Case {
        name: "a file over a file over a file",
        build: |_, site| {
            tmpfs(site, "/a", "one")?;
            fs::write(site.at("/a/two"), "two")?;
            let to = site.file("/target")?;
            mounting::bind(&site.at("/a/one"), &to, Depth::One)?;
            mounting::bind(&site.at("/a/two"), &to, Depth::One)?;
            mounting::bind(&site.at("/a/one"), &to, Depth::One)
        },
        workload: "grep -q one /target",
        ..Case::PLAIN
    },
];

/// MOVE_MOUNT_BENEATH is of Linux 6.5: a kernel without it has no such stack.
#[test]
fn root_mount_tucked_beneath_is_restored() {
    all_survive(Setup::ROOT, &[TUCKED]);
}

#[test]
fn userns_mount_tucked_beneath_is_restored() {
    all_survive(Setup::USERNS, &[TUCKED]);
}

const TUCKED: Case = Case {
    name: "a mount tucked beneath",
    build: |_, site| {
        tmpfs(site, "/a", "top")?;
        mounting::tuck_beneath(&site.at("/a"), "tucked")
    },
    workload: "test -f /a/top; test ! -e /a/tucked",
    ..Case::PLAIN
};

#[test]
fn root_stacks_are_restored() {
    all_survive(Setup::ROOT, CASES);
}

#[test]
fn userns_stacks_are_restored() {
    all_survive(Setup::USERNS, CASES);
}

/// The contents of what was covered are there once the cover is gone.
#[test]
fn root_what_stacked_mounts_hide_is_restored() {
    let cases = [
        Case {
            name: "two covered tmpfs",
            build: |_, site| {
                tmpfs(site, "/a", "first")?;
                tmpfs(site, "/a", "second")?;
                tmpfs(site, "/a", "third")
            },
            // Only a copy is taken apart: the container itself has to stay as it is.
            workload: "busybox unshare -m sh -c 'set -e; umount /a; test -f /a/second; \
                       umount /a; grep -q first /a/first'",
            ..Case::PLAIN
        },
        Case {
            name: "a covered tmpfs with a covered tmpfs in it",
            build: |_, site| {
                tmpfs(site, "/a", "beneath")?;
                site.directory("/a/sub")?;
                fs::write(site.at("/a/sub/deep"), "deep")?;
                tmpfs(site, "/a/sub", "over")?;
                tmpfs(site, "/a", "top")
            },
            workload: "busybox unshare -m sh -c 'set -e; umount /a; test -f /a/beneath; \
                       test -f /a/sub/over; umount /a/sub; grep -q deep /a/sub/deep'",
            ..Case::PLAIN
        },
    ];
    all_survive(Setup::ROOT, &cases);
}

#[test]
fn root_device_nodes_and_mounts_over_them_are_restored() {
    let cases = [Case {
        name: "devices",
        build: |_, site| {
            site.mount("tmpfs", "dev", "/dev", "rw,nosuid,relatime", "mode=755")?;
            let null = site.at("/dev/null");
            let kind = nix::sys::stat::SFlag::S_IFCHR;
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            nix::sys::stat::mknod(&null, kind, mode, nix::libc::makedev(1, 3))?;
            let zero = site.at("/dev/zero");
            nix::sys::stat::mknod(&zero, kind, mode, nix::libc::makedev(1, 5))?;
            mounting::bind(&null, &zero, Depth::One)?;
            mounting::bind(&null, &site.file("/masked")?, Depth::One)?;
            mounting::bind(Path::new("/dev/full"), &site.file("/full")?, Depth::One)
        },
        workload: "test -c /masked; test -c /full; test -z \"$(cat /dev/zero)\"; \
                   test \"$(busybox stat -c %t:%T /masked)\" = 1:3; \
                   test \"$(busybox stat -c %t:%T /full)\" = 1:7",
        ..Case::PLAIN
    }];
    all_survive(Setup::ROOT, &cases);
}

#[test]
fn root_overmounted_root_is_restored() {
    let over = |_: &crux_tests::Lab, _: &Site<'_>| Ok(());
    let inside = || {
        // As systemd and switch_root do it: a copy of the root on the root.
        mounting::bind(Path::new("/"), Path::new("/"), Depth::Tree)
    };
    let cases = [
        Case {
            name: "the task's root is beneath",
            build: over,
            inside,
            workload: "test -f /etc/hostname",
            ..Case::PLAIN
        },
        Case {
            name: "the task's root is on top",
            build: over,
            inside: || {
                mounting::bind(Path::new("/"), Path::new("/"), Depth::Tree)?;
                nix::unistd::chdir("/..")?;
                Ok(nix::unistd::chroot(".")?)
            },
            workload: "test -f /etc/hostname",
            ..Case::PLAIN
        },
    ];
    for case in cases {
        let case = Case {
            enter: Enter::Pivot,
            ..case
        };
        all_survive(Setup::ROOT, &[case]);
    }
}
