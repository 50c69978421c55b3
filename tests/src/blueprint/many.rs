//! A container with as many mounts as asked: a quarter each tmpfs, peers of
//! it, slaves of it, and private binds of a directory.
//!
//! Kind: effect.

use crate::container::{Container, Spec};
use crate::lab::Lab;
use crate::mounting::{self, Depth, Kind};
use anyhow::Result;
use nix::sched::CloneFlags;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes a root directory with a place for each mount.
pub fn prepare(lab: &Lab, count: usize) -> Result<PathBuf> {
    let root = lab.root("many")?;
    fs::create_dir_all(root.join("directory"))?;
    for number in 0..count {
        fs::create_dir_all(place(&root, number))?;
    }
    Ok(root)
}

/// Starts a container with these mounts, in a root that [`prepare`] has made.
pub fn start(lab: &Lab, root: &Path, count: usize) -> Result<Container> {
    let mut spec = Spec::new(root.to_owned());
    spec.namespaces = CloneFlags::empty();
    let build = |_: &crate::Site<'_>| {
        // A bind of a directory of the root would be a slave of the host's like the root.
        mounting::propagation(root, Kind::Private, Depth::One)?;
        make(root, count)
    };
    Container::start(lab, &spec, build, || Ok(()))
}

/// The same mounts with nothing but their system calls, one or two for each. The binds come first:
/// the kernel looks at every mount on the root for each (has_locked_children(), fs/namespace.c), so
/// that in the order of their places 10,000 mounts take five times as long.
pub fn make(root: &Path, count: usize) -> Result<()> {
    let directory = root.join("directory");
    for number in (0..count).filter(|number| number % 4 == 3) {
        mounting::bind(&directory, &place(root, number), Depth::One)?;
    }
    for number in 0..count {
        let at = place(root, number);
        let before = |steps: usize| place(root, number - steps);
        match number % 4 {
            0 => {
                mounting::new("tmpfs", "many", &at, "rw,relatime", "")?;
                mounting::propagation(&at, Kind::Shared, Depth::One)?;
            }
            1 => mounting::bind(&before(1), &at, Depth::One)?,
            2 => {
                mounting::bind(&before(2), &at, Depth::One)?;
                mounting::propagation(&at, Kind::Slave, Depth::One)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where the first mount of each tmpfs is.
pub fn own_tmpfs(root: &Path, count: usize) -> impl Iterator<Item = PathBuf> {
    (0..count).step_by(4).map(|number| place(root, number))
}

/// A container with one tmpfs, at /data, which `fill` fills.
pub fn with_contents(lab: &Lab, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Container> {
    let root = prepare(lab, 0)?;
    let mut spec = Spec::new(root);
    spec.namespaces = CloneFlags::empty();
    let build = |site: &crate::Site<'_>| {
        site.mount("tmpfs", "data", "/data", "rw,relatime", "")?;
        fill(&site.at("/data"))
    };
    Container::start(lab, &spec, build, || Ok(()))
}

fn place(root: &Path, number: usize) -> PathBuf {
    root.join(format!("m/{}/{}", number / 100, number % 100))
}
