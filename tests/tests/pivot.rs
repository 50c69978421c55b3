//! How a container got its root, and what that root is like.

use crux_tests::mounting::{self, Depth, Kind};
use crux_tests::scenario::{self, AUTO, Case, all_survive};
use crux_tests::{Container, Enter, Lab, Setup, Spec};
use nix::sched::CloneFlags;
use std::path::Path;

const CASES: &[Case] = &[
    Case {
        name: "pivot_root",
        build: |_, site| site.mount("tmpfs", "run", "/run", "rw,relatime", ""),
        workload: "touch /run/file; rm /run/file; test ! -e /srv",
        ..Case::PLAIN
    },
    Case {
        name: "a root that is read-only",
        build: |_, site| {
            site.mount("tmpfs", "run", "/run", "rw,relatime", "")?;
            mounting::attributes(&site.at("/"), "ro,relatime")
        },
        workload: "if touch /file; then false; fi; touch /run/file; rm /run/file",
        ..Case::PLAIN
    },
    Case {
        name: "a root without /tmp, /proc and /dev",
        build: |_, site| {
            for name in ["tmp", "proc", "dev", "sys"] {
                std::fs::remove_dir(site.at(name))?;
            }
            site.mount("tmpfs", "run", "/run", "rw,relatime", "")
        },
        workload: "test ! -e /tmp; test ! -e /proc; test ! -e /dev",
        ..Case::PLAIN
    },
    Case {
        name: "a root that is a sub-tree bind of a sub-tree bind",
        build: |_, site| {
            site.directory("/deeper")?;
            mounting::bind(
                &site.at("/bin"),
                &site.directory("/deeper/bin")?,
                Depth::One,
            )?;
            site.mount("tmpfs", "run", "/deeper/run", "rw,relatime", "")
        },
        inside: || {
            mounting::bind(Path::new("/deeper"), Path::new("/deeper"), Depth::Tree)?;
            nix::unistd::chdir("/deeper")?;
            nix::unistd::pivot_root(".", ".")?;
            mounting::detach(Path::new("."))?;
            Ok(nix::unistd::chdir("/")?)
        },
        workload: "test -x /bin/sh; test ! -e /etc; touch /run/file; rm /run/file",
        ..Case::PLAIN
    },
    Case {
        name: "a root in a tmpfs of its own",
        build: |_, site| {
            site.mount("tmpfs", "newroot", "/new", "rw,relatime", "")?;
            std::fs::create_dir(site.at("/new/bin"))?;
            std::fs::copy(site.at("/bin/busybox"), site.at("/new/bin/busybox"))?;
            for name in ["sh", "cat", "touch", "rm", "grep"] {
                std::os::unix::fs::symlink("busybox", site.at("/new/bin").join(name))?;
            }
            Ok(())
        },
        inside: || {
            nix::unistd::chdir("/new")?;
            nix::unistd::pivot_root(".", ".")?;
            mounting::detach(Path::new("."))?;
            Ok(nix::unistd::chdir("/")?)
        },
        options: [&[], &[]],
        workload: "touch /file; rm /file; test ! -e /etc",
        ..Case::PLAIN
    },
];

#[test]
fn root_roots_of_every_kind_are_restored() {
    all_survive(Setup::ROOT, CASES);
}

#[test]
fn userns_roots_of_every_kind_are_restored() {
    all_survive(Setup::USERNS, CASES);
}

/// The container that kept the host's root: all of the host's mounts are its own too.
#[test]
fn root_container_that_did_not_change_its_root_is_restored() {
    let case = Case {
        name: "neither",
        enter: Enter::Stay,
        inside: || {
            mounting::propagation(Path::new("/"), Kind::Private, Depth::Tree)?;
            // What the machine itself has stacked there, no path of it shows: nothing could be granted.
            mounting::detach(Path::new("/dev"))?;
            mounting::new("tmpfs", "own", Path::new("/opt"), "rw,relatime", "")?;
            Ok(std::fs::write("/opt/file", "own")?)
        },
        workload: "PATH=$PATH:/usr/bin; grep -q own /opt/file",
        ..Case::PLAIN
    };
    all_survive(Setup::ROOT, &[case]);
}

/// What is above a chroot is not the container's: it is left out, and that is said.
#[test]
fn root_chroot_into_a_mount_is_restored_without_what_is_above() {
    let case = Case {
        enter: Enter::Chroot,
        ..Case::PLAIN
    };
    all_survive(Setup::ROOT, &[case]);
}

/// A directory that a task was chrooted to becomes a mount of that directory.
#[test]
fn root_chroot_into_a_directory_becomes_a_mount() {
    Lab::test(Setup::ROOT, |lab| {
        let mut spec = Spec::new(lab.root("root")?);
        spec.namespaces = CloneFlags::empty();
        let inside = || {
            std::fs::create_dir_all("/sub/bin")?;
            std::fs::copy("/bin/busybox", "/sub/bin/cat")?;
            std::fs::write("/sub/bin/note", "inside\n")?;
            nix::unistd::chdir("/sub")?;
            Ok(nix::unistd::chroot(".")?)
        };
        let container = Container::start(lab, &spec, |_| Ok(()), inside)?;
        let output = lab
            .programs
            .dump(container.pid, &scenario::images(lab), &AUTO)?;
        output.success("crux-dump")?;
        drop(container);
        let command = [&AUTO[..], &["--", "/bin/cat", "/bin/note"]].concat();
        let output = lab.programs.restore(&scenario::images(lab), &command)?;
        assert_eq!(
            output.finish()?.success("crux-restore")?.stdout,
            b"inside\n"
        );
        Ok(())
    });
}
