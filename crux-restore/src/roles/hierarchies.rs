//! Where in the hierarchies of cgroups the role for them may do something, opened before it is started.
//!
//! Kind: effect. A filter sees no paths; this is for Landlock, which does.

use crate::tasks::cgroups::CgroupRights;
use crux_mount::hierarchies;
use crux_mount::mountinfo::Entry;
use crux_role::{Access, Beneath};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::{Errno, Result};

/// `CGROUP_SUPER_MAGIC`, `CGROUP2_SUPER_MAGIC`.
const KINDS: [u64; 2] = [0x27_e0eb, 0x6367_7270];

/// A directory as a place, whatever may be read there.
pub(super) fn place(above: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(above, name, flags, Mode::empty())
}

/// The root of a hierarchy that is mounted as a whole, unless something else is mounted over it.
pub(super) fn root(entry: &Entry) -> Result<OwnedFd> {
    let opened = place(CWD, &entry.mountpoint)?;
    match KINDS.contains(&(fstatfs(&opened)?.f_type as u64)) {
        true => Ok(opened),
        false => Err(Errno::NOTDIR),
    }
}

/// Every hierarchy is read, as new cgroups inherit settings from what is above them. Only what is granted is changed: a
/// cgroup that may have to be made is made in the directory above it.
pub(crate) fn reach(table: &[Entry], rights: &CgroupRights) -> Vec<Beneath> {
    let mut reached = Vec::new();
    for entry in table.iter().filter(|entry| hierarchies::is_whole(entry)) {
        // What cannot be opened here, the role cannot open either, and says so where it has to.
        let Ok(root) = root(entry) else { continue };
        for path in &rights.granted {
            let directory = last_there(&root, above(path));
            reached.extend(directory.map(|it| with(it, Access::Directories)));
        }
        reached.push(with(root, Access::Read));
    }
    for own in &rights.own {
        let root = hierarchies::whole(table, &own.controllers).and_then(|it| root(it).ok());
        let own = root.and_then(|root| last_there(&root, &own.path).ok());
        reached.extend(own.map(|it| with(it, Access::Write)));
    }
    reached
}

fn with(directory: OwnedFd, access: Access) -> Beneath {
    Beneath { directory, access }
}

fn above(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &path[..end]
}

/// The last directory on a path that is there.
fn last_there(root: &OwnedFd, path: &[u8]) -> std::io::Result<OwnedFd> {
    let mut here = root.try_clone()?;
    for name in path.split(|byte| *byte == b'/').filter(|it| !it.is_empty()) {
        match place(&here, name) {
            Ok(there) if !matches!(name, b"." | b"..") => here = there,
            _ => break,
        }
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_made_in_what_is_above_it() {
        assert_eq!(above(b"/a/b"), b"/a");
        assert_eq!(above(b"/a/b/"), b"/a");
        assert_eq!(above(b"/a"), b"");
        assert_eq!(above(b"/"), b"");
    }

    #[test]
    fn the_last_directory_is_found_and_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path();
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a/b", path.join("link")).unwrap();
        let root = OwnedFd::from(std::fs::File::open(path).unwrap());
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let there = |name: &str| inode(&std::fs::File::open(path.join(name)).unwrap().into());
        for (asked, found) in [
            ("", "."),
            ("/a/b", "a/b"),
            ("/a/b/c/d", "a/b"),
            ("/a/../a/b", "a"),
            ("/link/b", "."),
        ] {
            let last = last_there(&root, asked.as_bytes()).unwrap();
            assert_eq!(inode(&last), there(found), "{asked}");
        }
    }
}
