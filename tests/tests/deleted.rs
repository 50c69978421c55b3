//! Mounts of what was removed.

use anyhow::Result;
use crux_tests::mounting::{self, Depth};
use crux_tests::scenario::{self, AUTO, Case, all_survive, nested};
use crux_tests::{Lab, Setup, Site};
use std::fs;

fn tmpfs(site: &Site<'_>) -> Result<()> {
    site.mount("tmpfs", "own", "/a", "rw,relatime", "")?;
    site.directory("/a/sub")?;
    fs::write(site.at("/a/sub/file"), "kept")?;
    Ok(())
}

const CASES: &[Case] = &[
    Case {
        name: "a bind of a removed file",
        build: |_, site| {
            tmpfs(site)?;
            mounting::bind(&site.at("/a/sub/file"), &site.file("/on")?, Depth::One)?;
            Ok(fs::remove_file(site.at("/a/sub/file"))?)
        },
        workload: "grep -q kept /on; test ! -e /a/sub/file; test -d /a/sub",
        ..Case::PLAIN
    },
    Case {
        name: "a bind of a removed directory",
        build: |_, site| {
            tmpfs(site)?;
            mounting::bind(
                &site.directory("/a/gone")?,
                &site.directory("/on")?,
                Depth::One,
            )?;
            Ok(fs::remove_dir(site.at("/a/gone"))?)
        },
        workload: "test -d /on; if touch /on/file; then false; fi; test ! -e /a/gone",
        ..Case::PLAIN
    },
    Case {
        name: "two binds of one removed file, and one of another",
        build: |_, site| {
            tmpfs(site)?;
            fs::write(site.at("/a/other"), "other")?;
            for (from, on) in [("sub/file", "/1"), ("sub/file", "/2"), ("other", "/3")] {
                mounting::bind(&site.at("/a").join(from), &site.file(on)?, Depth::One)?;
            }
            fs::remove_file(site.at("/a/other"))?;
            Ok(fs::remove_file(site.at("/a/sub/file"))?)
        },
        workload: "grep -q kept /1; grep -q kept /2; grep -q other /3",
        ..Case::PLAIN
    },
    Case {
        name: "a removed file that has another name left",
        build: |_, site| {
            tmpfs(site)?;
            fs::hard_link(site.at("/a/sub/file"), site.at("/a/left"))?;
            mounting::bind(&site.at("/a/sub/file"), &site.file("/on")?, Depth::One)?;
            Ok(fs::remove_file(site.at("/a/sub/file"))?)
        },
        workload: "grep -q kept /on; test $(stat -c %i /on) = $(stat -c %i /a/left)",
        ..Case::PLAIN
    },
    Case {
        name: "a removed fifo and socket",
        build: |_, site| {
            tmpfs(site)?;
            nix::unistd::mkfifo(&site.at("/a/fifo"), nix::sys::stat::Mode::S_IRWXU)?;
            drop(std::os::unix::net::UnixListener::bind(
                site.at("/a/socket"),
            )?);
            for name in ["fifo", "socket"] {
                let on = site.file(&format!("/{name}"))?;
                mounting::bind(&site.at("/a").join(name), &on, Depth::One)?;
                fs::remove_file(site.at("/a").join(name))?;
            }
            Ok(())
        },
        workload: "test -p /fifo; test -S /socket",
        ..Case::PLAIN
    },
    Case {
        // The kernel unmounts what was there.
        name: "a mountpoint removed in another namespace",
        build: |_, site| {
            tmpfs(site)?;
            site.directory("/a/point")?;
            site.mount("tmpfs", "on", "/a/point", "rw,relatime", "")
        },
        inside: || {
            nested(|| {
                mounting::detach("/a/point".as_ref())?;
                Ok(fs::remove_dir("/a/point")?)
            })
        },
        workload: "test -d /a/sub; test ! -e /a/point",
        ..Case::PLAIN
    },
];

#[test]
fn root_mounts_of_what_was_removed_are_restored() {
    all_survive(Setup::ROOT, CASES);
}

#[test]
fn userns_mounts_of_what_was_removed_are_restored() {
    all_survive(Setup::USERNS, CASES);
}

/// Nothing on the host shows it any more: only a declaration puts something in its place.
#[test]
fn root_removed_external_source_is_refused_unless_it_is_declared() {
    Lab::test(Setup::ROOT, |lab| {
        fs::write(lab.path("source"), "gone")?;
        let case = Case {
            build: |lab, site| site.bind(&lab.path("source"), "/on", "rw,relatime"),
            ..Case::PLAIN
        };
        let container = scenario::start(lab, &case)?;
        fs::remove_file(lab.path("source"))?;
        let images = scenario::images(lab);
        let refused = lab.programs.dump(container.pid, &images, &AUTO)?;
        assert_eq!(refused.code(), Some(3), "{}", refused.stderr);
        assert!(refused.stderr.contains("--external"), "{}", refused.stderr);
        let options = [&AUTO[..], &["--external", "other=/on"]].concat();
        lab.programs
            .dump(container.pid, &images, &options)?
            .success("crux-dump")?;
        drop(container);
        fs::write(lab.path("other"), "in its place")?;
        let grant = format!("other={}", lab.path("other").display());
        let command = ["--", "/bin/grep", "-q", "in its place", "/on"];
        let options = [&AUTO[..], &["--external", &grant], &command].concat();
        let restored = lab.programs.restore(&images, &options)?.finish()?;
        restored.success("crux-restore")?;
        Ok(())
    });
}
