//! Files whose name is gone: where they were, and whether they have another.
//!
//! Kind: effect. Names are looked up in the process's own root, in the mount that the file is in;
//! what is found there counts only if it is the same file.

use super::{Places, Target};
use crux_image::tasks::Location;
use crux_mount::ids::MountId;
use crux_mount::sys;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat, openat, statat};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

/// What the kernel appends to the path of a file that was unlinked.
pub(super) const DELETED: &[u8] = b" (deleted)";

/// The directory that a file was in, and its former name.
pub(super) type Home = (Location, Vec<u8>);

/// Whether a directory was removed. Those of proc and cgroup file systems have no count of links.
pub(super) fn is_removed(stat: &Stat, path: &[u8]) -> bool {
    stat.st_nlink == 0 && path.ends_with(DELETED)
}

/// The directory that a file was in, or the nearest above it that is still there, and the name that it had.
pub(super) fn home(target: &Target, places: &Places, mount: MountId, path: &[u8]) -> Option<Home> {
    let (first, name) = split(path)?;
    let mut above = first;
    loop {
        if directory(target, mount, above).is_some() {
            break;
        }
        match split(above) {
            Some((next, _)) => above = next,
            // Nothing is seen from its root: the restore will say what it finds.
            None => {
                above = first;
                break;
            }
        }
    }
    let above = if above.is_empty() { b"/" } else { above };
    Some((places.locate(mount, above)?, name.to_vec()))
}

/// Another name of the file in the directory that it was in: its path.
pub(super) fn other_name(
    target: &Target,
    mount: MountId,
    path: &[u8],
    inode: u64,
) -> Option<Vec<u8>> {
    let (above, _) = split(path)?;
    let directory = directory(target, mount, above)?;
    let mut space = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&directory, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry.ok()?;
        if entry.ino() == inode {
            let name = entry.file_name();
            let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            if stat.st_ino == inode {
                return Some([above, b"/", name.to_bytes()].concat());
            }
        }
    }
    None
}

/// A directory of a mount by its path, if that still leads there.
pub(super) fn directory(target: &Target, mount: MountId, path: &[u8]) -> Option<OwnedFd> {
    let path = [b"root".as_slice(), path, b"/."].concat();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(target.directory.as_fd(), path, flags, Mode::empty()).ok()?;
    let found = sys::statx(&opened).ok()?.mount;
    (found == mount).then_some(opened)
}

/// A path without its last name, and that.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let (above, name) = (&path[..slash], &path[slash + 1..]);
    (!name.is_empty()).then_some((above, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_in_a_name() {
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"/a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b"/"), None);
        assert_eq!(split(b""), None);
    }
}
