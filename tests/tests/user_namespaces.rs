//! Mount namespaces that a user namespace owns.

use anyhow::Result;
use crux_tests::mounting::{self, Depth, Kind};
use crux_tests::scenario::{Case, all_survive, enter_user_namespace, nested_in};
use crux_tests::{Setup, Site};
use nix::sched::CloneFlags;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A workload that tries to undo what is locked.
macro_rules! trying {
    ($script:literal) => {
        concat!(
            "no() { echo \"$*\" >&2; exit 9; }; ",
            "fixed() { if umount $1; then no $1 was unmounted; fi; }; ",
            "kept() { if mount -o remount,bind,rw none $1; then no $1 lost its flags; fi; }; ",
            $script
        )
    };
}

const MAP: &str = "0 100000 65536";

/// What the process of the first namespace prepares: proc, to write the maps with.
fn proc(site: &Site<'_>) -> Result<()> {
    site.mount(
        "proc",
        "proc",
        "/proc",
        "rw,nosuid,nodev,noexec,relatime",
        "",
    )
}

fn mount_inside() -> Result<()> {
    mounting::new(
        "tmpfs",
        "mapped",
        Path::new("/run"),
        "rw,nosuid,nodev,relatime",
        "",
    )?;
    fs::write("/run/file", "kept")?;
    std::os::unix::fs::chown("/run/file", Some(1000), Some(1001))?;
    mounting::new(
        "devpts",
        "devpts",
        Path::new("/dev"),
        "rw,nosuid,noexec,relatime",
        "newinstance",
    )?;
    mounting::new("mqueue", "mqueue", Path::new("/root"), "rw,relatime", "").or(Ok(()))
}

const MAPPED: &str = "test $(stat -c %u:%g /run/file) = 101000:101001; grep -q kept /run/file";

#[test]
fn root_namespaces_with_mapped_ids_are_restored() {
    let cases = [
        Case {
            name: "the container's own namespace",
            build: |_, site| proc(site),
            inside: || enter_user_namespace(MAP).and_then(|()| mount_inside()),
            workload: MAPPED,
            ..Case::PLAIN
        },
        Case {
            name: "locked mounts: binds of files and trees made before",
            build: |_, site| {
                proc(site)?;
                site.mount("tmpfs", "outer", "/a", "rw,nosuid,nodev,noatime", "")?;
                fs::write(site.at("/a/file"), "kept")?;
                site.bind(&site.at("/a/file"), "/etc/hostname", "ro,relatime")
            },
            inside: || {
                enter_user_namespace(MAP)?;
                mounting::bind(Path::new("/a"), Path::new("/tmp"), Depth::Tree)?;
                mount_inside()
            },
            workload: "grep -q kept /etc/hostname; grep -q kept /tmp/file; grep -q kept /run/file; \
                       test $(stat -c %u /tmp/file) = 0",
            ..Case::PLAIN
        },
        Case {
            name: "several ranges",
            build: |_, site| proc(site),
            inside: || {
                enter_user_namespace("0 100000 1000\n1000 5000 10\n2000 300000 1000")?;
                mounting::new("tmpfs", "mapped", Path::new("/run"), "rw,relatime", "")?;
                fs::write("/run/file", "kept")?;
                Ok(std::os::unix::fs::chown(
                    "/run/file",
                    Some(1003),
                    Some(2005),
                )?)
            },
            workload: "test $(stat -c %u:%g /run/file) = 5003:300005",
            ..Case::PLAIN
        },
        Case {
            name: "a nested namespace only",
            build: |_, site| proc(site),
            inside: || {
                nested_in(CloneFlags::empty(), || {
                    enter_user_namespace(MAP)?;
                    mount_inside()
                })
            },
            workload: "test ! -e /run/file",
            ..Case::PLAIN
        },
        Case {
            name: "shared mounts inside, slaves of those outside",
            build: |_, site| {
                proc(site)?;
                site.mount("tmpfs", "outer", "/a", "rw,relatime", "")?;
                mounting::propagation(&site.at("/a"), Kind::Shared, Depth::One)
            },
            inside: || {
                nested_in(CloneFlags::empty(), || {
                    enter_user_namespace(MAP)?;
                    mounting::propagation(Path::new("/"), Kind::Shared, Depth::Tree)?;
                    mount_inside()
                })
            },
            ..Case::PLAIN
        },
        Case {
            name: "a user namespace in a user namespace",
            build: |_, site| proc(site),
            inside: || {
                enter_user_namespace(MAP)?;
                mount_inside()?;
                nested_in(CloneFlags::empty(), || {
                    enter_user_namespace("0 500 100")?;
                    mounting::new("tmpfs", "innermost", Path::new("/tmp"), "rw,relatime", "")
                })
            },
            workload: MAPPED,
            ..Case::PLAIN
        },
        Case {
            name: "under parents of mode 0700",
            build: |lab, site| {
                proc(site)?;
                fs::set_permissions(lab.scratch(), fs::Permissions::from_mode(0o700))?;
                let private = lab.path("private");
                fs::create_dir_all(private.join("data"))?;
                fs::write(private.join("data/file"), "kept")?;
                fs::set_permissions(&private, fs::Permissions::from_mode(0o700))?;
                site.bind(&private.join("data"), "/data", "rw,relatime")
            },
            inside: || enter_user_namespace(MAP).and_then(|()| mount_inside()),
            workload: "grep -q kept /data/file; grep -q kept /run/file",
            ..Case::PLAIN
        },
    ];
    all_survive(Setup::ROOT, &cases);
}

/// What a user namespace got with its mount namespace it can neither unmount nor open up.
#[test]
fn root_mounts_that_a_user_namespace_inherited_are_locked_again() {
    let cases = [
        Case {
            name: "a tmpfs with a mount in it, that is not seen outside",
            build: |_, site| {
                proc(site)?;
                site.mount("tmpfs", "outer", "/a", "rw,nosuid,relatime", "")?;
                fs::write(site.at("/a/file"), "kept")?;
                for at in ["/a/x", "/a/deep/y"] {
                    site.mount("tmpfs", "inner", at, "ro,nodev,noatime", "")?;
                }
                site.file("/a/masked")?;
                site.bind("/dev/null".as_ref(), "/a/masked", "rw,relatime")
            },
            inside: || enter_user_namespace(MAP).and_then(|()| mount_inside()),
            workload: trying!(
                "grep -q kept /a/file; test -c /a/masked; test $(ls /a | wc -l) = 4; \
                 fixed /a; fixed /a/x; fixed /a/deep/y; fixed /a/masked; fixed /proc; \
                 kept /a; kept /a/x; kept /a/deep/y"
            ),
            ..Case::PLAIN
        },
        Case {
            name: "a bind, by the user namespace, of a tree of what it got",
            build: |_, site| {
                proc(site)?;
                site.mount("tmpfs", "outer", "/a", "rw,nosuid,relatime", "")?;
                site.mount("tmpfs", "inner", "/a/x", "ro,relatime", "")?;
                fs::write(site.file("/etc/readonly")?, "kept")?;
                site.bind(&site.at("/etc/readonly"), "/data", "ro,relatime")
            },
            inside: || {
                enter_user_namespace(MAP)?;
                mounting::bind(Path::new("/a"), Path::new("/tmp"), Depth::Tree)
            },
            workload: trying!(
                "fixed /a; fixed /a/x; fixed /tmp/x; kept /tmp; kept /tmp/x; \
                 kept /data; grep -q kept /data"
            ),
            ..Case::PLAIN
        },
        Case {
            name: "devices of a tmpfs that was mounted outside",
            build: |_, site| {
                proc(site)?;
                site.mount("tmpfs", "outer", "/dev", "rw,nosuid,relatime", "mode=755")?;
                let null = site.at("/dev/null");
                use nix::sys::stat::{Mode, SFlag, makedev, mknod};
                mknod(
                    &null,
                    SFlag::S_IFCHR,
                    Mode::from_bits_truncate(0o666),
                    makedev(1, 3),
                )?;
                Ok(fs::set_permissions(
                    null,
                    fs::Permissions::from_mode(0o666),
                )?)
            },
            inside: || enter_user_namespace(MAP),
            workload: trying!("echo gone > /dev/null; fixed /dev"),
            ..Case::PLAIN
        },
        Case {
            name: "in a nested namespace, with propagation to it",
            build: |_, site| {
                proc(site)?;
                site.mount("tmpfs", "outer", "/a", "rw,nosuid,relatime", "")?;
                site.mount("tmpfs", "inner", "/a/x", "ro,relatime", "")?;
                mounting::propagation(&site.at("/a"), Kind::Shared, Depth::Tree)
            },
            inside: || {
                nested_in(CloneFlags::empty(), || {
                    enter_user_namespace(MAP)?;
                    mount_inside()
                })
            },
            ..Case::PLAIN
        },
    ];
    all_survive(Setup::ROOT, &cases);
}

#[test]
fn userns_namespaces_of_user_namespaces_are_restored() {
    let cases = [Case {
        name: "a namespace owned by a nested user namespace",
        build: |_, site| {
            let at = site.directory("/proc")?;
            mounting::bind(Path::new("/proc"), &at, Depth::Tree)
        },
        inside: || {
            enter_user_namespace("0 0 1")?;
            mounting::new("tmpfs", "mapped", Path::new("/run"), "rw,relatime", "")?;
            Ok(fs::write("/run/file", "kept")?)
        },
        workload: "grep -q kept /run/file",
        ..Case::PLAIN
    }];
    all_survive(Setup::USERNS, &cases);
}
