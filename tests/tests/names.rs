//! Names that are hard to read: escapes, bytes that are no text, very long ones.

use anyhow::Result;
use crux_tests::mounting::{self, Depth};
use crux_tests::scenario::{Case, all_survive};
use crux_tests::{Setup, Site};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

/// What mountinfo escapes, what it does not, and what is no UTF-8.
const NAMES: [&[u8]; 14] = [
    b"a space",
    b"a\ttab",
    b"a\nnew line",
    b"a\\backslash",
    b"\\040",
    b"#hash",
    b"\xff\xfe",
    b"\xc3\xa9t\xc3\xa9",
    b" - ",
    b"a,comma=equals:colon",
    b"'\"$(true)`",
    b"\x1b[31m",
    b"//deleted\\x",
    b"...",
];

fn mounted(site: &Site<'_>, name: &[u8]) -> Result<()> {
    let name: Vec<u8> = name
        .iter()
        .map(|&b| if b == b'/' { b'|' } else { b })
        .collect();
    let at = site.at("/names").join(OsStr::from_bytes(&name));
    fs::create_dir_all(at.join("sub"))?;
    mounting::new("tmpfs", "named", &at, "rw,relatime", "")?;
    fs::create_dir(at.join("sub"))?;
    let inner = at.join("sub").join(OsStr::from_bytes(&name));
    fs::create_dir(&inner)?;
    fs::write(inner.join("file"), "kept")?;
    // The name is in the root, too.
    let bound = site.at("/bound").join(OsStr::from_bytes(&name));
    fs::create_dir_all(&bound)?;
    mounting::bind(&inner, &bound, Depth::One)
}

fn component(at: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(at % 26).unwrap_or(0));
    std::iter::repeat_n(letter, 255).collect()
}

const CASES: &[Case] = &[
    Case {
        name: "every hard name as mountpoint and as root",
        build: |_, site| NAMES.iter().try_for_each(|name| mounted(site, name)),
        workload: "for d in /bound/*; do grep -q kept \"$d/file\"; done; \
                   grep -q kept \"/bound/a space/file\"",
        ..Case::PLAIN
    },
    Case {
        name: "a component of 255 bytes",
        build: |_, site| {
            let at = format!("/{}/{}", component(0), component(1));
            site.mount("tmpfs", "long", &at, "rw,relatime", "")?;
            Ok(fs::write(site.at(&at).join(component(2)), "kept")?)
        },
        workload: "grep -q kept /aaa*/bbb*/ccc*",
        ..Case::PLAIN
    },
    Case {
        name: "sources",
        build: |_, site| {
            for (at, source) in [
                ("/1", ""),
                ("/2", "none"),
                ("/3", "a b"),
                ("/4", "#x"),
                ("/5", "a\\b\tc\nd"),
                ("/6", "tmpfs"),
            ] {
                site.mount("tmpfs", source, at, "rw,relatime", "")?;
            }
            Ok(())
        },
        ..Case::PLAIN
    },
];

#[test]
fn root_hard_names_are_restored() {
    all_survive(Setup::ROOT, CASES);
}

#[test]
fn userns_hard_names_are_restored() {
    all_survive(Setup::USERNS, CASES);
}

/// A path over 4 KiB has no name in one call: each step is taken from the one before.
fn deep(site: &Site<'_>) -> Result<()> {
    site.mount("tmpfs", "deep", "/deep", "rw,relatime", "")?;
    std::env::set_current_dir(site.at("/deep"))?;
    for at in 0..20 {
        fs::create_dir(component(at))?;
        std::env::set_current_dir(component(at))?;
        if at % 5 == 4 {
            let here = std::path::Path::new(".");
            fs::create_dir("mount")?;
            mounting::new("tmpfs", "deep", &here.join("mount"), "rw,relatime", "")?;
            fs::write("mount/file", "kept")?;
        }
    }
    std::env::set_current_dir(site.at("/"))?;
    // The way by which a shell gets there: half of it, with what is mounted on it.
    let half: std::path::PathBuf = (0..10).map(component).collect();
    let (from, to) = (site.at("/deep").join(half), site.directory("/half")?);
    mounting::bind(&from, &to, Depth::Tree)?;
    Ok(std::env::set_current_dir("/")?)
}

const DEEP: &[Case] = &[Case {
    name: "a mount at a path over 4 KiB",
    build: |_, site| deep(site),
    workload: "grep -q kept /half/*/*/*/*/*/*/*/*/*/*/mount/file",
    ..Case::PLAIN
}];

#[test]
fn root_mounts_at_paths_over_4_kib_are_restored() {
    all_survive(Setup::ROOT, DEEP);
}

#[test]
fn userns_mounts_at_paths_over_4_kib_are_restored() {
    all_survive(Setup::USERNS, DEEP);
}
