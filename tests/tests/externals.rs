//! What comes from the host: sources of every kind, and groups that the host shares.

use anyhow::{Context as _, Result, ensure};
use crux_tests::mounting::{self, Depth, Kind};
use crux_tests::scenario::{self, AUTO, Case, all_survive};
use crux_tests::{Lab, Setup, Site};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A tmpfs of the host's, mounted at `/srv/NAME` or wherever the scratch directory is.
fn host_mount(lab: &Lab, name: &str, kind: Kind) -> Result<PathBuf> {
    let at = lab.path(name);
    fs::create_dir_all(&at)?;
    mounting::new("tmpfs", "host", &at, "rw,relatime", "")?;
    mounting::propagation(&at, Kind::Private, Depth::One)?;
    mounting::propagation(&at, kind, Depth::One)?;
    for directory in ["x", "y", "m"] {
        fs::create_dir(at.join(directory))?;
    }
    fs::write(at.join("file"), "host's")?;
    fs::write(at.join("x/file"), "host's")?;
    Ok(at)
}

/// The container sees the host's scratch directory as it was when it began, so
/// what it binds has to be there before.
fn survives(case: Case, host: fn(&Lab) -> Result<()>) {
    Lab::test(Setup::ROOT, |lab| {
        host(lab).context("failed to prepare the host")?;
        scenario::survives(lab, &case).context(case.name)
    });
}

fn bind(site: &Site<'_>, from: &Path, at: &str) -> Result<()> {
    site.bind(from, at, "rw,relatime")
}

fn make(site: &Site<'_>, at: &str, kind: Kind) -> Result<()> {
    mounting::propagation(&site.at(at), kind, Depth::One)
}

#[test]
fn root_files_directories_and_devices_of_the_host_are_restored() {
    let case = Case {
        name: "kinds of sources",
        build: |lab, site| {
            let host = lab.path("host");
            bind(site, &host, "/directory")?;
            bind(site, &host.join("file"), "/file")?;
            bind(site, &host.join("fifo"), "/fifo")?;
            bind(site, &host.join("socket"), "/socket")?;
            bind(site, Path::new("/dev/null"), "/device")
        },
        workload: "test -d /directory/x; grep -q host /file; test -p /fifo; test -S /socket; \
                   test $(stat -c %t:%T /device) = 1:3",
        ..Case::PLAIN
    };
    survives(case, |lab| {
        let host = host_mount(lab, "host", Kind::Private)?;
        nix::unistd::mkfifo(&host.join("fifo"), nix::sys::stat::Mode::S_IRWXU)?;
        drop(std::os::unix::net::UnixListener::bind(host.join("socket"))?);
        Ok(())
    });
}

/// Groups of the host's that a mount of the container can be in, or be a slave of.
#[test]
fn root_mounts_tied_to_a_group_of_the_host_are_restored() {
    let host = |lab: &Lab| host_mount(lab, "host", Kind::Shared).map(drop);
    let cases = [
        Case {
            name: "a peer",
            build: |lab, site| {
                bind(site, &lab.path("host"), "/a")?;
                join(lab, site, "/a")
            },
            workload: "grep -q host /a/file",
            ..Case::PLAIN
        },
        Case {
            name: "a slave",
            build: |lab, site| bind(site, &lab.path("host"), "/a"),
            ..Case::PLAIN
        },
        Case {
            name: "a slave that is shared itself, with a peer and a slave",
            build: |lab, site| {
                bind(site, &lab.path("host"), "/a")?;
                make(site, "/a", Kind::Shared)?;
                bind(site, &site.at("/a"), "/b")?;
                bind(site, &site.at("/a/x"), "/c")?;
                make(site, "/c", Kind::Slave)
            },
            workload: "grep -q host /c/file",
            ..Case::PLAIN
        },
        Case {
            name: "a group of the container's own, of the host's files",
            build: |lab, site| {
                bind(site, &lab.path("host"), "/a")?;
                make(site, "/a", Kind::Private)?;
                make(site, "/a", Kind::Shared)?;
                bind(site, &site.at("/a/x"), "/b")
            },
            ..Case::PLAIN
        },
        Case {
            name: "several files and directories out of one group",
            build: |lab, site| {
                let host = lab.path("host");
                bind(site, &host.join("file"), "/file")?;
                bind(site, &host.join("x/file"), "/other")?;
                bind(site, &host.join("x"), "/x")?;
                bind(site, &host.join("y"), "/y")
            },
            workload: "grep -q host /file; grep -q host /other; test -f /x/file; test -d /y",
            ..Case::PLAIN
        },
        Case {
            name: "binds and own mounts below an external mount",
            build: |lab, site| {
                bind(site, &lab.path("host"), "/a")?;
                make(site, "/a", Kind::Private)?;
                site.mount("tmpfs", "own", "/a/x", "rw,relatime", "")?;
                bind(site, &lab.path("host/y"), "/a/m")?;
                bind(site, &site.at("/a/file"), "/on")
            },
            workload: "test -d /a/m; test ! -e /a/x/file; grep -q host /on",
            ..Case::PLAIN
        },
    ];
    for case in cases {
        survives(case, host);
    }
}

/// Makes the mount at `at`, a slave of the host's, a peer of it.
fn join(lab: &Lab, site: &Site<'_>, at: &str) -> Result<()> {
    mounting::join_group(&lab.path("host"), &site.at(at))
}

/// A case whose sources are elsewhere at the restore.
fn restored_from(
    lab: &Lab,
    case: &Case,
    between: impl FnOnce() -> Result<Vec<String>>,
    script: &str,
) -> Result<()> {
    let container = scenario::start(lab, case)?;
    let images = scenario::images(lab);
    lab.programs
        .dump(container.pid, &images, case.options[0])?
        .success("crux-dump")?;
    drop(container);
    let options: Vec<String> = between()?;
    let command = ["--", "/bin/sh", "-e", "-c", script];
    let options: Vec<&str> = options.iter().map(String::as_str).chain(command).collect();
    let output = lab.programs.restore(&images, &options)?.finish()?;
    output.success("crux-restore").map(drop)
}

const NAMED: &[&str] = &["--external", "auto", "--external", "data=/data"];

fn with_data() -> Case {
    Case {
        build: |lab, site| bind(site, &lab.path("host"), "/data"),
        options: [NAMED, &AUTO],
        ..Case::PLAIN
    }
}

#[test]
fn root_source_on_another_file_system_than_at_dump_is_taken() {
    Lab::test(Setup::ROOT, |lab| {
        host_mount(lab, "host", Kind::Private)?;
        let other = lab.path("other");
        let between = || {
            fs::create_dir(&other)?;
            mounting::new("ramfs", "other", &other, "rw,relatime", "")?;
            fs::write(other.join("new"), "new")?;
            Ok(vec![
                "--external".into(),
                "auto".into(),
                "--external".into(),
                format!("data={}", other.display()),
            ])
        };
        let script = "/bin/grep -q new /data/new; test ! -e /data/file";
        restored_from(lab, &with_data(), between, script)
    });
}

#[test]
fn root_symlinked_source_is_followed_to_a_directory_of_the_right_kind_or_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let host = host_mount(lab, "host", Kind::Private)?;
        let container = scenario::start(lab, &with_data())?;
        let images = scenario::images(lab);
        lab.programs
            .dump(container.pid, &images, NAMED)?
            .success("crux-dump")?;
        drop(container);
        for (to, taken) in [(host.join("x"), true), (host.join("file"), false)] {
            let link = lab.path("link");
            symlink(&to, &link)?;
            let grant = format!("data={}", link.display());
            let script = ["--", "/bin/sh", "-c", "test -f /data/file"];
            let options = [&AUTO[..], &["--external", &grant], &script].concat();
            let output = lab.programs.restore(&images, &options)?.finish()?;
            ensure!(
                output.status.success() == taken,
                "{to:?}: {}",
                output.stderr
            );
            ensure!(
                taken || output.stderr.contains("Error: "),
                "{}",
                output.stderr
            );
            fs::remove_file(&link)?;
        }
        Ok(())
    });
}

#[test]
fn root_given_by_root_is_taken() {
    Lab::test(Setup::ROOT, |lab| {
        let case = Case {
            build: |_, site| site.mount("tmpfs", "own", "/run", "rw,relatime", ""),
            ..Case::PLAIN
        };
        let between = || {
            let moved = lab.path("moved");
            fs::rename(lab.path("root"), &moved)?;
            fs::write(moved.join("etc/hostname"), "moved\n")?;
            Ok(vec!["--root".into(), moved.display().to_string()])
        };
        restored_from(lab, &case, between, "/bin/grep -q moved /etc/hostname")
    });
}

#[test]
fn root_root_that_is_a_mount_of_the_host_is_restored() {
    let cases = [
        ("shared", Kind::Shared),
        ("private", Kind::Private),
        ("slave", Kind::Slave),
    ];
    for (name, kind) in cases {
        Lab::test(Setup::ROOT, |lab| {
            let root = lab.path("root");
            fs::create_dir(&root)?;
            mounting::new("tmpfs", "rootfs", &root, "rw,relatime", "")?;
            mounting::propagation(&root, kind, Depth::One)?;
            let case = Case {
                build: |_, site| site.mount("tmpfs", "own", "/run", "rw,relatime", ""),
                ..Case::PLAIN
            };
            scenario::survives(lab, &case).context(name)
        });
    }
}

/// Nothing on the host is left in the group that it was a slave of.
#[test]
fn root_slave_of_a_group_that_is_gone_is_refused_by_name() {
    Lab::test(Setup::ROOT, |lab| {
        host_mount(lab, "host", Kind::Shared)?;
        let case = Case {
            build: |lab, site| bind(site, &lab.path("host/x"), "/a"),
            ..Case::PLAIN
        };
        let container = scenario::start(lab, &case)?;
        // A member stays, but shows nothing that contains what the slave shows.
        mounting::bind(&lab.path("host/y"), &lab.path("host/m"), Depth::One)?;
        let other = lab.path("other");
        fs::create_dir(&other)?;
        mounting::bind(&lab.path("host/y"), &other, Depth::One)?;
        mounting::detach(&lab.path("host"))?;
        let output = lab
            .programs
            .dump(container.pid, &scenario::images(lab), &AUTO)?;
        assert_eq!(output.code(), Some(3), "{}", output.stderr);
        assert!(output.stderr.contains("peer group"), "{}", output.stderr);
        Ok(())
    });
}

#[test]
fn userns_external_sources_are_restored() {
    let cases = [Case {
        name: "directories and files",
        build: |_, site| {
            bind(site, Path::new("/usr/share"), "/share")?;
            bind(site, Path::new("/etc/hostname"), "/on")?;
            bind(site, Path::new("/dev/null"), "/null")?;
            bind(site, &site.at("/share"), "/again")
        },
        workload: "test -d /share; test -f /on; test -c /null; test -d /again",
        ..Case::PLAIN
    }];
    all_survive(Setup::USERNS, &cases);
}
