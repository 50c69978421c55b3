//! Peer groups, slaves and what is neither, within one mount namespace.

use anyhow::Result;
use crux_tests::mounting::{self, Depth, Kind};
use crux_tests::scenario::{Case, all_survive};
use crux_tests::{Setup, Site};

/// A private tmpfs with some directories.
fn tmpfs(site: &Site<'_>, at: &str) -> Result<()> {
    site.mount("tmpfs", "shared", at, "rw,relatime", "")?;
    for name in ["x/y", "m", "n"] {
        site.directory(&format!("{at}/{name}"))?;
    }
    make(site, at, Kind::Private)
}

fn make(site: &Site<'_>, at: &str, kind: Kind) -> Result<()> {
    mounting::propagation(&site.at(at), kind, Depth::One)
}

fn bind(site: &Site<'_>, from: &str, at: &str) -> Result<()> {
    site.bind(&site.at(from), at, "rw,relatime")
}

fn shared(site: &Site<'_>, at: &str) -> Result<()> {
    tmpfs(site, at)?;
    make(site, at, Kind::Shared)
}

const CASES: &[Case] = &[
    Case {
        name: "a mount and its bind as peers",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/b")
        },
        workload: "test -d /a/x/y; test -d /b/x/y",
        ..Case::PLAIN
    },
    Case {
        name: "a slave",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/b")?;
            make(site, "/b", Kind::Slave)
        },
        ..Case::PLAIN
    },
    Case {
        name: "slave and shared at once, with a slave and a peer of its own",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/b")?;
            make(site, "/b", Kind::Slave)?;
            make(site, "/b", Kind::Shared)?;
            bind(site, "/b", "/c")?;
            bind(site, "/b", "/d")?;
            make(site, "/d", Kind::Slave)
        },
        ..Case::PLAIN
    },
    Case {
        name: "a chain of four groups",
        build: |_, site| {
            shared(site, "/a")?;
            for (from, at) in [("/a", "/b"), ("/b", "/c"), ("/c", "/d")] {
                bind(site, from, at)?;
                make(site, at, Kind::Slave)?;
                make(site, at, Kind::Shared)?;
            }
            Ok(())
        },
        ..Case::PLAIN
    },
    Case {
        name: "a group of which no member shows the whole root",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a/x", "/b")?;
            bind(site, "/a/m", "/c")?;
            bind(site, "/a", "/d")?;
            make(site, "/a", Kind::Private)?;
            make(site, "/d", Kind::Private)?;
            mounting::detach(&site.at("/d"))
        },
        workload: "test -d /b/y; test -d /c",
        ..Case::PLAIN
    },
    Case {
        name: "disjoint roots and nothing that shows the file system whole",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a/x", "/b")?;
            bind(site, "/a/m", "/c")?;
            bind(site, "/a/m", "/d")?;
            make(site, "/d", Kind::Slave)?;
            mounting::detach(&site.at("/a"))
        },
        workload: "test -d /b/y; touch /c/file; test -f /d/file; rm /c/file",
        ..Case::PLAIN
    },
    Case {
        name: "a slave of a group whose master shows less than the slave's slave",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/b")?;
            make(site, "/b", Kind::Slave)?;
            make(site, "/b", Kind::Shared)?;
            bind(site, "/a/x", "/c")?;
            mounting::detach(&site.at("/a"))
        },
        ..Case::PLAIN
    },
    Case {
        name: "children in one peer only",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/b")?;
            site.mount("tmpfs", "child", "/a/m", "rw,relatime", "")?;
            // It is in both, until it is taken from one, which has to be made apart for that.
            make(site, "/b", Kind::Private)?;
            mounting::detach(&site.at("/b/m"))?;
            bind(site, "/b", "/c")?;
            make(site, "/a/m", Kind::Private)
        },
        workload: "test ! -e /b/file; touch /a/m/file; test ! -e /b/m/file; rm /a/m/file",
        ..Case::PLAIN
    },
    Case {
        name: "a child in one of two peers (non-uniform)",
        build: |_, site| {
            shared(site, "/a")?;
            // A bind of a mount with a child has no child of its own.
            site.mount("tmpfs", "child", "/a/m", "rw,relatime", "")?;
            bind(site, "/a", "/b")
        },
        workload: "touch /a/m/file; test ! -e /b/m/file; rm /a/m/file",
        ..Case::PLAIN
    },
    Case {
        name: "private children of shared parents",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/b")?;
            site.mount("tmpfs", "child", "/a/m", "rw,relatime", "")?;
            make(site, "/a/m", Kind::Private)?;
            make(site, "/b/m", Kind::Private)
        },
        ..Case::PLAIN
    },
    Case {
        name: "unbindable",
        build: |_, site| {
            tmpfs(site, "/a")?;
            make(site, "/a", Kind::Unbindable)?;
            shared(site, "/b")?;
            site.mount("tmpfs", "child", "/b/m", "rw,relatime", "")?;
            make(site, "/b/m", Kind::Unbindable)
        },
        workload: "test -d /a/x/y; test -d /b/m",
        ..Case::PLAIN
    },
    Case {
        name: "a shared mount mounted into itself",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/a/m")?;
            bind(site, "/a/x", "/a/n")
        },
        workload: "test -d /a/m/x/y; test -d /a/n/y",
        ..Case::PLAIN
    },
    Case {
        name: "a slave mounted into its master",
        build: |_, site| {
            shared(site, "/a")?;
            bind(site, "/a", "/b")?;
            make(site, "/b", Kind::Slave)?;
            mounting::bind(&site.at("/b"), &site.at("/a/m"), Depth::One)
        },
        ..Case::PLAIN
    },
    Case {
        name: "everything shared, each in a group of its own",
        build: |_, site| {
            tmpfs(site, "/a")?;
            tmpfs(site, "/a/m")?;
            tmpfs(site, "/a/m/n")
        },
        inside: || mounting::propagation("/".as_ref(), Kind::Shared, Depth::Tree),
        ..Case::PLAIN
    },
    Case {
        name: "an rbind of a shared tree as peers, and as slaves",
        build: |_, site| {
            shared(site, "/a")?;
            shared(site, "/a/m")?;
            shared(site, "/a/m/n")?;
            site.directory("/b")?;
            site.directory("/c")?;
            mounting::bind(&site.at("/a"), &site.at("/b"), Depth::Tree)?;
            mounting::bind(&site.at("/a"), &site.at("/c"), Depth::Tree)?;
            mounting::propagation(&site.at("/c"), Kind::Slave, Depth::Tree)
        },
        ..Case::PLAIN
    },
];

#[test]
fn root_sharing_is_restored() {
    all_survive(Setup::ROOT, CASES);
}

#[test]
fn userns_sharing_is_restored() {
    all_survive(Setup::USERNS, CASES);
}
