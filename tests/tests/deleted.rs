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
        name: "a removed file whose name is another's by now, which is mounted too",
        build: |_, site| {
            tmpfs(site)?;
            mounting::bind(&site.at("/a/sub/file"), &site.file("/on")?, Depth::One)?;
            fs::remove_file(site.at("/a/sub/file"))?;
            fs::write(site.at("/a/sub/file"), "new")?;
            mounting::bind(&site.at("/a/sub/file"), &site.file("/new")?, Depth::One)?;
            mounting::bind(&site.at("/a/sub/file"), &site.at("/a/sub/file"), Depth::One)
        },
        workload: "grep -q kept /on; grep -q new /new; grep -q new /a/sub/file; \
                   test $(ls /a | wc -l) = 1",
        ..Case::PLAIN
    },
    Case {
        name: "a removed file in removed directories, one of which is a file by now",
        build: |_, site| {
            tmpfs(site)?;
            fs::create_dir_all(site.at("/a/sub/deep/deeper"))?;
            fs::write(site.at("/a/sub/deep/deeper/file"), "kept")?;
            let file = site.at("/a/sub/deep/deeper/file");
            mounting::bind(&file, &site.file("/on")?, Depth::One)?;
            let directory = site.at("/a/sub/deep/deeper");
            mounting::bind(&directory, &site.directory("/dir")?, Depth::One)?;
            fs::remove_dir_all(site.at("/a/sub/deep"))?;
            Ok(fs::write(site.at("/a/sub/deep"), "a file")?)
        },
        workload: "grep -q kept /on; test -d /dir; grep -q 'a file' /a/sub/deep; \
                   test $(ls /a/sub | wc -l) = 2",
        ..Case::PLAIN
    },
    Case {
        name: "one file removed by two names",
        build: |_, site| {
            tmpfs(site)?;
            fs::hard_link(site.at("/a/sub/file"), site.at("/a/also"))?;
            mounting::bind(&site.at("/a/sub/file"), &site.file("/1")?, Depth::One)?;
            mounting::bind(&site.at("/a/also"), &site.file("/2")?, Depth::One)?;
            fs::remove_file(site.at("/a/also"))?;
            Ok(fs::remove_file(site.at("/a/sub/file"))?)
        },
        workload: "grep -q kept /1; test $(stat -c %i /1) = $(stat -c %i /2)",
        ..Case::PLAIN
    },
    Case {
        name: "times of the directories that names were removed from",
        build: |_, site| {
            tmpfs(site)?;
            mounting::bind(&site.at("/a/sub/file"), &site.file("/on")?, Depth::One)?;
            fs::remove_file(site.at("/a/sub/file"))?;
            for directory in ["/a/sub", "/a"] {
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
                fs::File::open(site.at(directory))?.set_modified(time)?;
            }
            Ok(())
        },
        workload: "test $(stat -c %Y /a) = 1000000; test $(stat -c %Y /a/sub) = 1000000",
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
