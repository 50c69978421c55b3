//! Looks at a tree on its own, by recursion: shares no code with what it checks.

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, seek,
    statat,
};
use rustix::process::{Resource, fchdir, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A path, and what is there.
pub(crate) type Tree = BTreeMap<Vec<u8>, Found>;

/// Everything that can be compared of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    mode: u32,
    owner: (u32, u32),
    links: Option<u64>,
    device: u64,
    size: i64,
    blocks: i64,
    accessed: (i64, i64),
    modified: (i64, i64),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    contents: Vec<(u64, Vec<u8>)>,
    /// The first path of the same file.
    same_as: Option<Vec<u8>>,
}

/// Modes and times alone, read without touching any.
pub(crate) fn times(root: &Path) -> BTreeMap<Vec<u8>, [(i64, i64); 3]> {
    let mut times = BTreeMap::new();
    visit(
        &open_root(root),
        &mut Vec::new(),
        &mut |path, _, _, stat| {
            let changed = (stat.st_ctime, stat.st_ctime_nsec as i64);
            times.insert(path.to_vec(), [accessed(stat), modified(stat), changed]);
        },
    );
    times
}

/// The whole tree.
pub(crate) fn walk(root: &Path) -> Tree {
    let (mut tree, mut names) = (Tree::new(), BTreeMap::<u64, Vec<Vec<u8>>>::new());
    visit(
        &open_root(root),
        &mut Vec::new(),
        &mut |path, _, _, stat| {
            names.entry(stat.st_ino).or_default().push(path.to_vec());
            tree.insert(path.to_vec(), of(stat));
        },
    );
    // Only now: reading a symlink changes its access time, by any of its names.
    visit(
        &open_root(root),
        &mut Vec::new(),
        &mut |path, dir, name, stat| {
            let found = tree.get_mut(path).unwrap();
            found.xattrs = xattrs(dir, name);
            found.contents = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => contents(dir, name),
                FileType::Symlink => {
                    vec![(0, readlinkat(dir, name, Vec::new()).unwrap().into_bytes())]
                }
                _ => Vec::new(),
            };
        },
    );
    for mut paths in names.into_values() {
        paths.sort();
        for path in &paths[1..] {
            tree.get_mut(path).unwrap().same_as = Some(paths[0].clone());
        }
    }
    tree
}

#[track_caller]
pub(crate) fn assert_same(expected: &Tree, found: &Tree) {
    for (path, file) in expected {
        let shown = path.escape_ascii();
        match found.get(path) {
            Some(other) => assert!(other == file, "/{shown}: {}", difference(file, other)),
            None => panic!("/{shown} is missing"),
        }
    }
    assert!(expected.keys().eq(found.keys()), "there are files too many");
}

fn difference(a: &Found, b: &Found) -> String {
    let contents = if a.contents == b.contents {
        "the same"
    } else {
        "different"
    };
    let short = |f: &Found| Found {
        contents: Vec::new(),
        ..f.clone()
    };
    format!("{:?} became {:?}, contents {contents}", short(a), short(b))
}

type Visitor<'a> = &'a mut dyn FnMut(&[u8], &OwnedFd, &CStr, &Stat);

/// One descriptor for each level: a deep tree needs more than the usual 1024.
fn open_root(root: &Path) -> OwnedFd {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    openat(CWD, root, DIRECTORY, Mode::empty()).unwrap()
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOATIME);

fn visit(dir: &OwnedFd, path: &mut Vec<u8>, visitor: Visitor<'_>) {
    visitor(path, dir, c".", &fstat(dir).unwrap());
    let length = path.len();
    let names: Vec<_> = Dir::new(openat(dir, c".", DIRECTORY, Mode::empty()).unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .filter(|name| !matches!(name.as_bytes(), b"." | b".."))
        .collect();
    for name in names {
        let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        path.extend_from_slice(if length == 0 { b"" } else { b"/" });
        path.extend_from_slice(name.as_bytes());
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            visit(
                &openat(dir, &name, DIRECTORY, Mode::empty()).unwrap(),
                path,
                visitor,
            );
        } else {
            visitor(path, dir, &name, &stat);
        }
        path.truncate(length);
    }
}

fn of(stat: &Stat) -> Found {
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Found {
        mode: stat.st_mode,
        owner: (stat.st_uid, stat.st_gid),
        links: (!is_directory).then_some(stat.st_nlink),
        device: stat.st_rdev,
        size: if is_directory { 0 } else { stat.st_size },
        blocks: stat.st_blocks,
        accessed: accessed(stat),
        modified: modified(stat),
        xattrs: BTreeMap::new(),
        contents: Vec::new(),
        same_as: None,
    }
}

fn xattrs(dir: &OwnedFd, name: &CStr) -> BTreeMap<Vec<u8>, Vec<u8>> {
    fchdir(dir).unwrap();
    let (mut names, mut value) = (vec![0; 65536], vec![0; 65536]);
    let length = rustix::fs::llistxattr(name, &mut names[..]).unwrap_or_default();
    let names = names[..length]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty());
    let get = |attribute: &[u8]| {
        let length = rustix::fs::lgetxattr(name, attribute, &mut value[..]).unwrap();
        (attribute.to_vec(), value[..length].to_vec())
    };
    names.map(get).collect()
}

/// The data, hole by hole.
fn contents(dir: &OwnedFd, name: &CStr) -> Vec<(u64, Vec<u8>)> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::NOATIME, Mode::empty()).unwrap();
    let (mut runs, mut at) = (Vec::new(), 0);
    while let Ok(begin) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(begin)).unwrap();
        let mut bytes = vec![0; (at - begin) as usize];
        let mut done = 0;
        while done < bytes.len() {
            let count = rustix::io::pread(&file, &mut bytes[done..], begin + done as u64).unwrap();
            assert!(count > 0);
            done += count;
        }
        runs.push((begin, bytes));
    }
    runs
}

fn accessed(stat: &Stat) -> (i64, i64) {
    (stat.st_atime, stat.st_atime_nsec as i64)
}

fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime, stat.st_mtime_nsec as i64)
}
