//! Opening beneath a mount's root (openat2(2)).
//!
//! Kind: effect. Follows no symlink, crosses no mount, leaves no root: a name
//! that a container chose leads to a file of this mount or to an error.

use super::error::{SysError, call};
use super::stat::statx;
use crux_image::path::{Escaped, RelPath};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::borrow::Cow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How many bytes of a path go into one call: well below `PATH_MAX`.
const CHUNK: usize = 2000;

/// What to open; always as a place only (`O_PATH`), never for reading or writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Whatever is there. If that is a symlink, the symlink itself.
    Any,
    /// A directory, or `ENOTDIR`; a symlink is `ELOOP` or `ENOTDIR`.
    Directory,
}

impl Open {
    fn flags(self) -> OFlags {
        let always = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self {
            Self::Any => always,
            Self::Directory => always | OFlags::DIRECTORY,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Any => "O_PATH|O_NOFOLLOW|O_CLOEXEC",
            Self::Directory => "O_PATH|O_NOFOLLOW|O_CLOEXEC|O_DIRECTORY",
        }
    }
}

/// Opens `path` beneath `dir`, following no symlink and crossing no mount (`EXDEV`, also when
/// something is mounted on the last component). The empty path is what `dir` itself is. A path of any length works: it
/// is opened in pieces. Without openat2(2) (`ENOSYS`) it is walked name by name.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &RelPath, how: Open) -> Result<OwnedFd, SysError> {
    if path.is_root() {
        return open_again(dir, how);
    }
    let mut here: Option<OwnedFd> = None;
    let mut rest = path.as_bytes();
    while let Some((chunk, after)) = split_chunk(rest, CHUNK) {
        let kind = if after.is_empty() {
            how
        } else {
            Open::Directory
        };
        let from = here.as_ref().map_or(dir, |fd| fd.as_fd());
        here = Some(open_chunk(from, chunk, kind)?);
        rest = after;
    }
    here.map_or_else(|| open_again(dir, how), Ok)
}

/// A detached clone of the mount `dir` with what is at `path` beneath its root as the root: two calls,
/// or one for the empty path. See [`open_beneath`] and [`open_tree_clone`](super::open_tree_clone).
pub fn clone_beneath(dir: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, SysError> {
    match path.is_root() {
        true => super::open_tree_clone(dir),
        false => super::open_tree_clone(open_beneath(dir, path, Open::Any)?),
    }
}

/// The mount that is on top at `at` beneath `dir`, its root: only the last name crosses a mount.
/// `ENOENT` also means that nothing is mounted there.
pub fn open_on(dir: BorrowedFd<'_>, at: &RelPath) -> Result<OwnedFd, SysError> {
    let described = || format!("openat({}, \"{at}\", O_PATH)", dir.as_raw_fd());
    let missing = || SysError::new(described(), Errno::NOENT);
    let (above, last) = at.split_last().ok_or_else(missing)?;
    let above = open_beneath(dir, &above, Open::Directory)?;
    let flags = Open::Any.flags();
    let found = rustix::fs::openat(&above, last, flags, Mode::empty()).map_err(call(described))?;
    let stat = statx(&found)?;
    match stat.is_mount_root && stat.mount != statx(&above)?.mount {
        true => Ok(found),
        false => Err(missing()),
    }
}

/// The first piece of at most `limit` bytes that ends at a component, and what follows it. A
/// component has at most 255 bytes, so a piece is never empty.
fn split_chunk(path: &[u8], limit: usize) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    if path.len() <= limit {
        return Some((path, b""));
    }
    let end = path[..=limit]
        .iter()
        .rposition(|&b| b == b'/')
        .unwrap_or(path.len());
    Some((&path[..end], path.get(end + 1..).unwrap_or_default()))
}

fn open_again(dir: BorrowedFd<'_>, how: Open) -> Result<OwnedFd, SysError> {
    let fd = super::open_tree(dir)?;
    if how == Open::Directory && !super::file_kind(&statx(&fd)?).is_some_and(|k| k.is_directory()) {
        return Err(SysError::new(
            format!("open({}, {})", dir.as_raw_fd(), how.shown()),
            Errno::NOTDIR,
        ));
    }
    Ok(fd)
}

fn open_chunk(dir: BorrowedFd<'_>, chunk: &[u8], how: Open) -> Result<OwnedFd, SysError> {
    let resolve = ResolveFlags::IN_ROOT
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(dir, chunk, how.flags(), Mode::empty(), resolve) {
        Err(Errno::NOSYS) => walk(dir, chunk, how),
        other => other.map_err(call(|| {
            format!(
                "openat2({}, \"{}\", {{flags={}, resolve=RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS|\
                 RESOLVE_NO_SYMLINKS|RESOLVE_IN_ROOT}})",
                dir.as_raw_fd(),
                shortened(chunk),
                how.shown()
            )
        })),
    }
}

/// The same with openat(2), one name a call: a name that is no directory ends the walk, and one in another mount too.
fn walk(dir: BorrowedFd<'_>, path: &[u8], how: Open) -> Result<OwnedFd, SysError> {
    let mount = statx(dir)?.mount;
    let mut here: Option<OwnedFd> = None;
    let mut names = path.split(|&b| b == b'/').peekable();
    while let Some(name) = names.next() {
        let kind = if names.peek().is_some() {
            Open::Directory
        } else {
            how
        };
        let from = here.as_ref().map_or(dir, |fd| fd.as_fd());
        let described = || {
            format!(
                "openat({}, \"{}\", {})",
                from.as_raw_fd(),
                Escaped(name),
                kind.shown()
            )
        };
        let fd =
            rustix::fs::openat(from, name, kind.flags(), Mode::empty()).map_err(call(described))?;
        if statx(&fd)?.mount != mount {
            return Err(SysError::new(described(), Errno::XDEV));
        }
        here = Some(fd);
    }
    here.map_or_else(|| open_again(dir, how), Ok)
}

/// What is at `path` beneath `dir`, where openat2(2) is missing: each name is opened with
/// `O_NOFOLLOW`, so no link is followed, while mounts are crossed. The path has no `.` or `..`.
pub fn walk_across(dir: BorrowedFd<'_>, path: &[u8], access: OFlags) -> Result<OwnedFd, SysError> {
    let always = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here: Option<OwnedFd> = None;
    let mut names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
    let mut next = names.next();
    while let Some(name) = next {
        next = names.next();
        let flags = match next {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | always,
            None => access | always,
        };
        let from = here.as_ref().map_or(dir, |fd| fd.as_fd());
        let opened = rustix::fs::openat(from, name, flags, Mode::empty());
        here = Some(opened.map_err(call(|| {
            format!(
                "openat({}, \"{}\", {flags:?})",
                from.as_raw_fd(),
                Escaped(name)
            )
        }))?);
    }
    match here {
        Some(fd) => Ok(fd),
        None => rustix::fs::openat(dir, c".", access | always, Mode::empty()).map_err(call(|| {
            format!("openat({}, \".\", {access:?})", dir.as_raw_fd())
        })),
    }
}

/// A path for a message: its end where it is long.
fn shortened(path: &[u8]) -> String {
    let shown: Cow<'_, [u8]> = match path.len().checked_sub(200) {
        Some(at @ 1..) => [b"...", &path[at..]].concat().into(),
        _ => path.into(),
    };
    Escaped(&shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_image::mounts::FileKind;

    #[test]
    fn long_paths_are_cut_at_components() {
        let path = ["abc"; 10].join("/");
        let mut rest = path.as_bytes();
        let mut pieces = Vec::new();
        while let Some((piece, after)) = split_chunk(rest, 8) {
            pieces.push(piece);
            rest = after;
        }
        assert!(pieces.iter().all(|p| p.len() <= 8 && !p.is_empty()));
        assert_eq!(pieces.join(&b'/'), path.as_bytes());
    }

    #[test]
    fn a_piece_may_be_exactly_as_long_as_the_limit() {
        assert_eq!(split_chunk(b"abc/def", 3), Some((&b"abc"[..], &b"def"[..])));
        assert_eq!(split_chunk(b"abc", 3), Some((&b"abc"[..], &b""[..])));
        assert_eq!(split_chunk(b"", 3), None);
    }

    /// What [`walk`] finds beneath /proc, which every machine has.
    fn walked(path: &str, how: Open) -> Result<FileKind, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty()).unwrap();
        let fd = walk(proc.as_fd(), path.as_bytes(), how).map_err(|e| e.errno())?;
        Ok(super::super::file_kind(&statx(fd).unwrap()).unwrap())
    }

    #[test]
    fn without_openat2_names_are_walked_with_the_same_outcome() {
        let own = std::process::id();
        assert_eq!(walked("self", Open::Any), Ok(FileKind::Symlink));
        assert_eq!(walked("self", Open::Directory), Err(Errno::NOTDIR));
        assert_eq!(walked("self/ns", Open::Any), Err(Errno::NOTDIR));
        assert_eq!(
            walked(&format!("{own}/ns"), Open::Directory),
            Ok(FileKind::Directory)
        );
        assert_eq!(
            walked(&format!("{own}/status"), Open::Any),
            Ok(FileKind::Regular)
        );
        assert_eq!(
            walked(&format!("{own}/cwd/x"), Open::Any),
            Err(Errno::NOTDIR)
        );
    }

    #[test]
    fn without_openat2_mounts_are_not_crossed_either() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).unwrap();
        let crossed = walk(root.as_fd(), b"proc/version", Open::Any);
        assert_eq!(crossed.unwrap_err().errno(), Errno::XDEV);
    }
}
