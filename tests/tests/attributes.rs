//! Attributes of mounts and of superblocks, one by one and in mixes; id-mapped mounts.

use anyhow::{Context as _, Result, ensure};
use crux_mount::features::Features;
use crux_tests::mounting::{self, Depth, Kind};
use crux_tests::scenario::{self, AUTO, Case, all_survive};
use crux_tests::{Lab, Setup, Site};
use std::fs;

/// As mountinfo shows them. Without any of the words on access times it is strictatime.
const MIXES: [&str; 16] = [
    "ro,relatime",
    "rw,nosuid,relatime",
    "rw,nodev,relatime",
    "rw,noexec,relatime",
    "rw,noatime",
    "rw,nodiratime,relatime",
    "rw,relatime",
    "rw",
    "rw,nosymfollow,relatime",
    "ro,nosuid,nodev,noexec,nosymfollow,noatime,nodiratime",
    "rw,nosuid,nodev,noexec,relatime",
    "rw,noatime,nodiratime",
    "rw,nodiratime",
    "ro,nosuid",
    "rw,nosymfollow,noexec,noatime",
    "ro,nodev,noexec,nodiratime,relatime",
];

/// Each mix on a superblock of its own, and on a bind of one that has others.
fn every_mix(site: &Site<'_>) -> Result<()> {
    site.mount("tmpfs", "one", "/one", "rw,relatime", "")?;
    fs::create_dir(site.at("/one/x"))?;
    for (number, mix) in MIXES.iter().enumerate() {
        site.mount("tmpfs", "own", &format!("/own/{number}"), mix, "")?;
        site.bind(&site.at("/one"), &format!("/bind/{number}"), mix)?;
        site.bind(&site.at("/one/x"), &format!("/part/{number}"), mix)?;
        site.bind(&site.at("/bin"), &format!("/outside/{number}"), mix)?;
    }
    Ok(())
}

const CASES: &[Case] = &[
    Case {
        name: "every mix on own, bound and external mounts",
        build: |_, site| every_mix(site),
        workload: "if touch /own/0/file; then false; fi; touch /own/1/file; rm /own/1/file; \
                   if touch /bind/0/file; then false; fi; touch /bind/1/file; rm /bind/1/file; \
                   if /outside/3/true; then false; fi; /outside/4/true",
        ..Case::PLAIN
    },
    Case {
        name: "shared mounts with different attributes",
        build: |_, site| {
            site.mount("tmpfs", "one", "/a", "rw,relatime", "")?;
            mounting::propagation(&site.at("/a"), Kind::Shared, Depth::One)?;
            site.bind(&site.at("/a"), "/b", "ro,nosuid,relatime")?;
            site.bind(&site.at("/a"), "/c", "rw,nosymfollow,noatime")
        },
        ..Case::PLAIN
    },
    Case {
        name: "a read-only superblock, and a read-only mount of a writable one",
        build: |_, site| {
            site.mount("tmpfs", "ro", "/super", "rw,relatime", "")?;
            fs::write(site.at("/super/file"), "kept")?;
            site.bind(&site.at("/super"), "/again", "rw,relatime")?;
            mounting::superblock_read_only(&site.at("/super"), "ro,relatime")?;
            site.mount("tmpfs", "rw", "/mount", "rw,relatime", "")?;
            fs::write(site.at("/mount/file"), "kept")?;
            mounting::attributes(&site.at("/mount"), "ro,relatime")
        },
        workload: "grep -q kept /super/file; if touch /again/x; then false; fi; \
                   grep -q kept /mount/file; if touch /mount/x; then false; fi",
        ..Case::PLAIN
    },
    Case {
        name: "nosymfollow is obeyed",
        build: |_, site| {
            site.mount("tmpfs", "links", "/a", "rw,relatime", "")?;
            fs::write(site.at("/a/file"), "kept")?;
            std::os::unix::fs::symlink("file", site.at("/a/link"))?;
            site.bind(&site.at("/a"), "/b", "rw,nosymfollow,relatime")
        },
        workload: "cat /a/link; if cat /b/link; then false; fi; test -L /b/link; cat /b/file",
        ..Case::PLAIN
    },
];

#[test]
fn root_attributes_are_restored() {
    all_survive(Setup::ROOT, CASES);
}

#[test]
fn userns_attributes_are_restored() {
    all_survive(Setup::USERNS, CASES);
}

/// Flags of the superblock: only root of the first user namespace may set most of them.
#[test]
fn root_superblock_flags_are_restored() {
    let cases = [Case {
        name: "sync, dirsync, lazytime",
        build: |_, site| {
            for flag in ["sync", "dirsync", "lazytime"] {
                let at = site.directory(&format!("/{flag}"))?;
                mounting::with_superblock_flag("tmpfs", &at, flag)?;
            }
            Ok(())
        },
        ..Case::PLAIN
    }];
    all_survive(Setup::ROOT, &cases);
}

#[test]
fn root_idmapped_mounts_are_restored() {
    let cases = [
        Case {
            name: "an id-mapped bind of the container's own",
            build: |_, site| {
                site.mount("tmpfs", "ids", "/a", "rw,relatime", "")?;
                fs::write(site.at("/a/file"), "kept")?;
                let map = "0 100000 65536";
                mounting::bind_idmapped(&site.at("/a"), &site.directory("/b")?, map)
            },
            workload: "test $(stat -c %u /a/file) = 0; test $(stat -c %u /b/file) = 100000",
            ..Case::PLAIN
        },
        Case {
            name: "an id-mapped external mount, several ranges",
            build: |_, site| {
                let map = "0 200000 1000\n1000 5000 10";
                mounting::bind_idmapped(&site.at("/etc"), &site.directory("/b")?, map)
            },
            workload: "test $(stat -c %u /etc/hostname) = 0; \
                       test $(stat -c %u /b/hostname) = 200000",
            ..Case::PLAIN
        },
        Case {
            name: "peers with different maps",
            build: |_, site| {
                site.mount("tmpfs", "ids", "/a", "rw,relatime", "")?;
                fs::write(site.at("/a/file"), "kept")?;
                mounting::propagation(&site.at("/a"), Kind::Shared, Depth::One)?;
                for (at, map) in [("/b", "0 100000 10"), ("/c", "0 200000 10")] {
                    mounting::bind_idmapped(&site.at("/a"), &site.directory(at)?, map)?;
                }
                Ok(())
            },
            workload: "test $(stat -c %u /b/file) = 100000; test $(stat -c %u /c/file) = 200000",
            ..Case::PLAIN
        },
    ];
    all_survive(Setup::ROOT, &cases);
}

/// Before Linux 6.15 mountinfo says that a mount is id-mapped, and nothing says how.
#[test]
fn root_idmapped_mount_is_refused_unless_the_kernel_tells_its_map() {
    Lab::test(Setup::ROOT, |lab| {
        let case = Case {
            build: |_, site| {
                site.mount("tmpfs", "ids", "/a", "rw,relatime", "")?;
                let map = "0 100000 65536";
                mounting::bind_idmapped(&site.at("/a"), &site.directory("/b")?, map)
            },
            ..Case::PLAIN
        };
        let container = scenario::start(lab, &case)?;
        let images = scenario::images(lab);
        let output = lab.programs.dump(container.pid, &images, &AUTO)?;
        if Features::probe().statmount_idmap {
            output.success("crux-dump")?;
            return Ok(());
        }
        assert_eq!(output.code(), Some(3), "{}", output.stderr);
        ensure!(
            output.stderr.contains("it is id-mapped"),
            "{}",
            output.stderr
        );
        ensure!(!images.exists(), "an image is left");
        Ok(())
    });
}

/// So that the words above mean what they say.
#[test]
fn userns_mixes_are_what_mountinfo_shows() {
    Lab::test(Setup::USERNS, |lab| {
        for mix in MIXES {
            let at = lab.path("mix");
            fs::create_dir(&at)?;
            mounting::new("tmpfs", "mix", &at, mix, "")?;
            let table = crux_tests::Table::own()?;
            let entry = table.at(&at.to_string_lossy()).context("no such mount")?;
            let (mut wanted, mut found): (Vec<_>, Vec<_>) = (
                mix.split(',').collect(),
                entry.attributes.split(',').collect(),
            );
            wanted.sort_unstable();
            found.sort_unstable();
            assert_eq!(wanted, found);
            mounting::detach(&at)?;
            fs::remove_dir(&at)?;
        }
        Ok(())
    });
}
