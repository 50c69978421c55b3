//! The archive that a kernel unpacks at start: cpio, in its format "newc".
//!
//! Kind: pure over a tree in memory, but for reading the files that are put in.
//! The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link(PathBuf),
    /// A file with the contents and permissions of one of this machine.
    Copy(PathBuf),
    /// A file of our own.
    File {
        /// What is in it.
        bytes: Vec<u8>,
        /// Its permissions.
        mode: u32,
    },
}

/// A tree of files. Everything in it belongs to root.
#[derive(Debug, Default)]
pub(super) struct Archive {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Archive {
    /// Puts something at an absolute path; directories above are made.
    pub(super) fn put(&mut self, path: &Path, node: Node) {
        let above = path.ancestors().skip(1);
        for directory in above.take_while(|path| path.parent().is_some()) {
            let entry = self.nodes.entry(directory.to_owned());
            entry.or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// What is at this path.
    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Writes it all. A directory comes before what is in it, as paths are sorted.
    pub(super) fn write(&self, to: &mut impl Write) -> Result<()> {
        for (number, (path, node)) in self.nodes.iter().enumerate() {
            let name = path.strip_prefix("/").unwrap_or(path);
            let inode = u32::try_from(number + 1)?;
            entry(to, name, inode, node).with_context(|| format!("{}", path.display()))?;
        }
        header(to, Path::new("TRAILER!!!"), 0, 0, 0)?;
        Ok(())
    }
}

const DIRECTORY: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

fn entry(to: &mut impl Write, name: &Path, inode: u32, node: &Node) -> Result<()> {
    match node {
        Node::Directory => header(to, name, inode, DIRECTORY, 0)?,
        Node::Link(target) => {
            let target = target.as_os_str().as_bytes();
            header(to, name, inode, LINK, target.len())?;
            to.write_all(target)?;
            pad(to, target.len())?;
        }
        Node::File { bytes, mode } => {
            header(to, name, inode, FILE | mode, bytes.len())?;
            to.write_all(bytes)?;
            pad(to, bytes.len())?;
        }
        Node::Copy(from) => {
            let mut file = File::open(from).with_context(|| format!("{}", from.display()))?;
            let found = file.metadata()?;
            let (size, mode) = (usize::try_from(found.len())?, found.permissions().mode());
            header(to, name, inode, FILE | mode & 0o7777, size)?;
            let copied = io::copy(&mut file, to)?;
            anyhow::ensure!(copied == found.len(), "{} changed", from.display());
            pad(to, size)?;
        }
    }
    Ok(())
}

/// The magic number, thirteen numbers of eight digits, and the name, which ends with
/// a zero byte.
fn header(to: &mut impl Write, name: &Path, inode: u32, mode: u32, size: usize) -> Result<()> {
    const MAGIC: &str = "070701";
    let name = name.as_os_str().as_bytes();
    let size = u32::try_from(size).context("too large for this format")?;
    let length = u32::try_from(name.len() + 1)?;
    let links = 1;
    // inode, mode, uid, gid, links, mtime, size, device, device of the node, name, checksum
    let numbers = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, length, 0];
    to.write_all(MAGIC.as_bytes())?;
    for number in numbers {
        write!(to, "{number:08x}")?;
    }
    to.write_all(name)?;
    to.write_all(b"\0")?;
    pad(to, MAGIC.len() + numbers.len() * 8 + name.len() + 1)
}

/// Everything begins at a multiple of four.
fn pad(to: &mut impl Write, length: usize) -> Result<()> {
    Ok(to.write_all(&[0; 3][..length.wrapping_neg() % 4])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_first_and_everything_is_aligned() {
        let mut archive = Archive::default();
        let file = Node::File {
            bytes: b"hello".to_vec(),
            mode: 0o755,
        };
        archive.put(Path::new("/a/b/c"), file);
        archive.put(Path::new("/a/link"), Node::Link("b".into()));
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let starts: Vec<_> = (0..bytes.len())
            .filter(|&at| bytes[at..].starts_with(b"070701"))
            .collect();
        assert!(starts.iter().all(|start| start % 4 == 0));
        let name = |start: &usize| {
            let rest = &bytes[start + 110..];
            String::from_utf8_lossy(rest.split(|&byte| byte == 0).next().unwrap()).into_owned()
        };
        let names: Vec<_> = starts.iter().map(name).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/link", "TRAILER!!!"]);
    }
}
