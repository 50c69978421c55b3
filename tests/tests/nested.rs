//! Several mount namespaces in one container, with peers and slaves across them.

use anyhow::Result;
use crux_tests::mounting::{self, Depth, Kind};
use crux_tests::scenario::{Case, all_survive, nested};
use crux_tests::{Setup, Site};
use std::fs;
use std::path::Path;

fn tmpfs(site: &Site<'_>, at: &str, kind: Kind) -> Result<()> {
    site.mount("tmpfs", "nested", at, "rw,relatime", "")?;
    for name in ["x/y", "m", "n"] {
        site.directory(&format!("{at}/{name}"))?;
    }
    mounting::propagation(&site.at(at), Kind::Private, Depth::One)?;
    mounting::propagation(&site.at(at), kind, Depth::One)
}

fn all(kind: Kind) -> Result<()> {
    mounting::propagation(Path::new("/"), kind, Depth::Tree)
}

fn one(at: &str, kind: Kind) -> Result<()> {
    mounting::propagation(Path::new(at), kind, Depth::One)
}

const CASES: &[Case] = &[
    Case {
        name: "a service with a private /tmp, as systemd makes it",
        build: |_, site| tmpfs(site, "/run", Kind::Shared),
        inside: || {
            fs::create_dir_all("/tmp/private/tmp")?;
            nested(|| {
                all(Kind::Slave)?;
                mounting::bind(Path::new("/tmp/private/tmp"), Path::new("/tmp"), Depth::One)?;
                mounting::attributes(Path::new("/tmp"), "rw,nosuid,nodev,relatime")?;
                mounting::new("tmpfs", "inner", Path::new("/root"), "rw,relatime", "")
            })
        },
        workload: "test -d /tmp/private; touch /run/file; rm /run/file",
        ..Case::PLAIN
    },
    Case {
        name: "peers in both namespaces",
        build: |_, site| tmpfs(site, "/a", Kind::Shared),
        inside: || nested(|| Ok(())),
        ..Case::PLAIN
    },
    Case {
        name: "three namespaces: master, slave that is shared, and slave of that",
        build: |_, site| tmpfs(site, "/a", Kind::Shared),
        inside: || {
            nested(|| {
                one("/a", Kind::Slave)?;
                one("/a", Kind::Shared)?;
                nested(|| {
                    one("/a", Kind::Slave)?;
                    mounting::new("tmpfs", "third", Path::new("/a/m"), "rw,relatime", "")
                })
            })
        },
        ..Case::PLAIN
    },
    Case {
        name: "two siblings, each with a slave of one group",
        build: |_, site| tmpfs(site, "/a", Kind::Shared),
        inside: || {
            nested(|| one("/a", Kind::Slave))?;
            nested(|| one("/a", Kind::Slave))
        },
        ..Case::PLAIN
    },
    Case {
        name: "a master that only the inner namespace has",
        build: |_, site| tmpfs(site, "/a", Kind::Shared),
        inside: || {
            nested(|| mounting::bind(Path::new("/a"), Path::new("/tmp"), Depth::One))?;
            one("/a", Kind::Slave)
        },
        ..Case::PLAIN
    },
    Case {
        name: "a sub-tree whose whole file system only another namespace has",
        build: |_, site| {
            tmpfs(site, "/a", Kind::Private)?;
            fs::write(site.at("/a/x/file"), "kept")?;
            Ok(fs::write(site.at("/a/other"), "kept")?)
        },
        inside: || {
            nested(|| Ok(()))?;
            mounting::bind(Path::new("/a/x"), Path::new("/root"), Depth::One)?;
            mounting::detach(Path::new("/a"))
        },
        workload: "grep -q kept /root/file; test ! -e /a/other",
        ..Case::PLAIN
    },
    Case {
        name: "groups of disjoint roots across two namespaces",
        build: |_, site| tmpfs(site, "/a", Kind::Shared),
        inside: || {
            mounting::bind(Path::new("/a/x"), Path::new("/root"), Depth::One)?;
            nested(|| {
                mounting::bind(Path::new("/a/m"), Path::new("/tmp"), Depth::One)?;
                mounting::detach(Path::new("/root"))?;
                one("/a", Kind::Private)?;
                mounting::detach(Path::new("/a"))
            })?;
            one("/a", Kind::Private)?;
            mounting::detach(Path::new("/a"))
        },
        ..Case::PLAIN
    },
    Case {
        name: "a container in the container, with a root of its own",
        build: |_, site| {
            tmpfs(site, "/inner", Kind::Private)?;
            fs::create_dir(site.at("/inner/bin"))?;
            fs::create_dir(site.at("/inner/run"))?;
            fs::copy(site.at("/bin/busybox"), site.at("/inner/bin/busybox"))?;
            Ok(())
        },
        inside: || {
            nested(|| {
                nix::unistd::chdir("/inner")?;
                nix::unistd::pivot_root(".", ".")?;
                mounting::detach(Path::new("."))?;
                nix::unistd::chdir("/")?;
                mounting::new("tmpfs", "innermost", Path::new("/run"), "rw,relatime", "")
            })
        },
        workload: "test -x /inner/bin/busybox; test -d /inner/run",
        ..Case::PLAIN
    },
];

#[test]
fn root_nested_namespaces_are_restored() {
    all_survive(Setup::ROOT, CASES);
}

#[test]
fn userns_nested_namespaces_are_restored() {
    all_survive(Setup::USERNS, CASES);
}
