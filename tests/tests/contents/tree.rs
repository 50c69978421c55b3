//! Trees with everything in them that tmpfs can hold.

use crux_image::contents::Name;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    lsetxattr, makedev, mkdirat, mknodat, openat, utimensat,
};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// What needs no privilege beyond a user namespace.
pub(crate) fn ordinary(root: &Path) {
    files(root);
    sparse(root, 1 << 40);
    names(root);
    links(root);
    let attributes = root.join("attributes");
    fs::write(&attributes, b"x").unwrap();
    xattr(&attributes, "trusted.overlay.opaque", b"y");
    modes(root);
    times(root);
}

/// What needs the host's root.
pub(crate) fn privileged(root: &Path) {
    devices(root);
    owners(root);
    attributes(root);
    acls(root);
    // Last, for all of these change the times of the root.
    root_itself(root);
}

/// Regular files: empty, small, at the limits, large.
pub(crate) fn files(root: &Path) {
    for size in [0, 1, 4095, 4096, 4097, 300_000] {
        fs::write(root.join(format!("size {size}")), pattern(size)).unwrap();
    }
}

/// Files with holes, of up to `size` bytes.
pub(crate) fn sparse(root: &Path, size: u64) {
    let sparse = |name: &str, size: u64, data: &[(u64, usize)]| {
        let file = File::create(root.join(name)).unwrap();
        file.set_len(size).unwrap();
        for &(at, length) in data {
            file.write_all_at(&pattern(length), at).unwrap();
        }
    };
    sparse("hole", size, &[]);
    sparse("small hole", 100, &[]);
    sparse("data then hole", size, &[(0, 5000)]);
    sparse("hole then data", size, &[(size - 5000, 5000)]);
    let every_other: Vec<(u64, usize)> = (0..600).map(|i| (i * 8192, 4096)).collect();
    sparse("many holes", 600 * 8192, &every_other);
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Names that a careless program would trip over.
fn names(root: &Path) {
    let dir = root.join("names");
    fs::create_dir(&dir).unwrap();
    let longest = [b'x'; 255];
    for name in [
        &b"new\nline"[..],
        b"\xff\xfe",
        b" ",
        b"-rf",
        b"...",
        b"back\\slash",
        b"\x1b[2J",
        &longest,
    ] {
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::create_dir(dir.join(OsStr::from_bytes(b"dir\n\xff"))).unwrap();
}

/// Hard links within a directory, up and down; symlinks; fifos; sockets.
fn links(root: &Path) {
    fs::create_dir_all(root.join("links/a/b/c")).unwrap();
    let first = root.join("links/a/first");
    fs::write(&first, pattern(10_000)).unwrap();
    for name in [
        "links/a/second",
        "links/a/b/c/third",
        "links/fourth",
        "fifth",
    ] {
        fs::hard_link(&first, root.join(name)).unwrap();
    }
    for (name, target) in [
        ("dangling", "nowhere"),
        ("absolute", "/etc/passwd"),
        ("up", "../../.."),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    symlink("x".repeat(4095), root.join("longest")).unwrap();
    fs::hard_link(root.join("dangling"), root.join("links/symlink linked")).unwrap();
    mknod(root, "fifo", FileType::Fifo, 0, 0);
    fs::hard_link(root.join("fifo"), root.join("links/fifo linked")).unwrap();
    UnixListener::bind(root.join("socket")).unwrap();
}

fn modes(root: &Path) {
    for mode in [0o000, 0o111, 0o644, 0o1777, 0o2755, 0o4755, 0o6777, 0o7000] {
        let (file, dir) = (
            root.join(format!("file {mode:o}")),
            root.join(format!("dir {mode:o}")),
        );
        fs::write(&file, b"x").unwrap();
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("inside"), b"x").unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
        for path in [file, dir] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn times(root: &Path) {
    for (name, seconds, nanoseconds) in [
        ("1901", -2_177_452_801, 1),
        ("last of 1969", -1, 999_999_999),
        ("2446", 1 << 34, 5),
        ("epoch", 0, 0),
    ] {
        fs::write(root.join(name), b"x").unwrap();
        set_times(&root.join(name), seconds, nanoseconds);
        symlink(name, root.join(format!("link {name}"))).unwrap();
        set_times(&root.join(format!("link {name}")), seconds + 1, nanoseconds);
        fs::create_dir(root.join(format!("dir {name}"))).unwrap();
        fs::write(root.join(format!("dir {name}/file")), b"x").unwrap();
        set_times(&root.join(format!("dir {name}")), seconds + 2, nanoseconds);
    }
    set_times(&root.join("fifo"), 1, 1);
    set_times(&root.join("socket"), 2, 2);
}

fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = |seconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(seconds),
        last_modification: time(seconds - 9),
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(crate) fn devices(root: &Path) {
    mknod(root, "null", FileType::CharacterDevice, 1, 3);
    mknod(root, "disk", FileType::BlockDevice, 4095, (1 << 20) - 1);
    mknod(root, "whiteout", FileType::CharacterDevice, 0, 0);
}

pub(crate) fn mknod(root: &Path, name: &str, file_type: FileType, major: u32, minor: u32) {
    let mode = Mode::from_raw_mode(0o640);
    mknodat(CWD, root.join(name), file_type, mode, makedev(major, minor)).unwrap();
}

/// The set-user-ID bits stay although the owner changes after they would be set.
fn owners(root: &Path) {
    for name in [
        "file 6777",
        "dir 2755",
        "dangling",
        "null",
        "fifo",
        "socket",
        "size 4097",
        "dir 0",
    ] {
        let (uid, gid) = (
            Some(Uid::from_raw(1000)),
            Some(Gid::from_raw(4_294_967_294)),
        );
        let mode = fs::symlink_metadata(root.join(name)).unwrap().mode() & 0o7777;
        chownat(CWD, root.join(name), uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        if name != "dangling" {
            fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn attributes(root: &Path) {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr(&root.join("size 1"), "security.capability", &capability);
    xattr(&root.join("file 4755"), "security.capability", &capability);
    for (name, value) in [
        ("trusted.empty", &b""[..]),
        ("trusted.raw", b"\0\xff"),
        ("trusted.long", &[7; 65536]),
    ] {
        for path in [
            "size 1", "hole", "dir 0", "dir 1777", "null", "fifo", "socket", "dangling", "names",
        ] {
            xattr(&root.join(path), name, value);
        }
    }
    // tmpfs has user.* since Linux 6.6.
    let _ = lsetxattr(root.join("size 1"), "user.x", b"x", XattrFlags::empty());
}

/// A POSIX ACL as the kernel takes it: version 2, then tag, permissions and id of each.
fn acls(root: &Path) {
    let entries: [(u16, u16, u32); 5] = [
        (1, 7, u32::MAX),
        (2, 6, 1234),
        (4, 5, u32::MAX),
        (16, 5, u32::MAX),
        (32, 0, u32::MAX),
    ];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    // Children made beneath a default ACL would inherit it.
    let dir = root.join("with default acl");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("made before"), b"x").unwrap();
    fs::create_dir(dir.join("dir made before")).unwrap();
    xattr(&dir, "system.posix_acl_default", &acl);
    for path in ["with default acl", "size 4096", "fifo", "null", "dir 2755"] {
        xattr(&root.join(path), "system.posix_acl_access", &acl);
    }
    fs::write(dir.join("made after"), b"x").unwrap();
    xattr(root, "system.posix_acl_default", &acl);
}

fn root_itself(root: &Path) {
    chownat(
        CWD,
        root,
        Some(Uid::from_raw(7)),
        Some(Gid::from_raw(8)),
        AtFlags::empty(),
    )
    .unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o2751)).unwrap();
    xattr(root, "trusted.root", b"root");
    set_times(root, -77, 77);
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    let set = lsetxattr(path, name, value, XattrFlags::empty());
    // trusted.* is not for user namespaces.
    if let Err(errno) = set {
        assert!(
            name.starts_with("trusted.") && errno == rustix::io::Errno::PERM,
            "{name}: {errno}"
        );
    }
}

/// `depth` directories, one in the other, with a hard link between top and bottom.
pub(crate) fn deep(root: &Path, depth: usize) {
    fs::write(root.join("top"), b"x").unwrap();
    let top = open_dir(&open_path(root), ".");
    let mut dir = open_dir(&top, ".");
    for i in 0..depth {
        let name = format!("{i}-{}", "deep".repeat(5));
        mkdirat(&dir, &name, Mode::RWXU).unwrap();
        let file = openat(&dir, "beside", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).unwrap();
        rustix::io::write(&file, name.as_bytes()).unwrap();
        dir = open_dir(&dir, &name);
        if i % 500 == 0 {
            rustix::fs::linkat(&top, "top", &dir, "bottom", AtFlags::empty()).unwrap();
        }
    }
    rustix::fs::symlinkat("x", &dir, "link").unwrap();
}

/// As many levels as make a walk close the outer ones, each with subdirectories on both sides.
pub(crate) fn wide_at_the_bottom(root: &Path, depth: usize) {
    let mut dir = open_path(root);
    for i in 0..depth {
        for j in 0..50 {
            mkdirat(&dir, format!("dir {j}"), Mode::RWXU).unwrap();
        }
        dir = open_dir(&dir, &format!("dir {}", i % 50));
    }
}

fn open_path(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::PATH, Mode::empty()).unwrap()
}

fn open_dir(dir: &OwnedFd, name: &str) -> OwnedFd {
    openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap()
}

/// Files of every kind that lost the name they are open by; one has another.
pub(crate) fn orphans(root: &Path) -> Vec<(Name, OwnedFd)> {
    fs::write(root.join("orphan file"), pattern(10_000)).unwrap();
    fs::write(root.join("orphan by path"), b"x").unwrap();
    fs::write(root.join("kept"), b"kept").unwrap();
    fs::hard_link(root.join("kept"), root.join("orphan linked")).unwrap();
    fs::create_dir(root.join("orphan dir")).unwrap();
    fs::set_permissions(root.join("orphan dir"), Permissions::from_mode(0o1711)).unwrap();
    mknod(root, "orphan fifo", FileType::Fifo, 0, 0);
    xattr(&root.join("orphan fifo"), "trusted.x", b"fifo");
    symlink("target", root.join("orphan symlink")).unwrap();
    let open = |name: &str| {
        let flags = match name {
            "orphan file" => OFlags::RDONLY,
            _ => OFlags::PATH | OFlags::NOFOLLOW,
        };
        let path = root.join(name);
        let fd = openat(CWD, &path, flags, Mode::empty()).unwrap();
        fs::remove_file(&path)
            .or_else(|_| fs::remove_dir(&path))
            .unwrap();
        (Name::new(name).unwrap(), fd)
    };
    [
        "orphan file",
        "orphan by path",
        "orphan linked",
        "orphan dir",
        "orphan fifo",
        "orphan symlink",
    ]
    .map(open)
    .into()
}

pub(crate) fn check_orphans(root: &Path) {
    assert_eq!(fs::read(root.join("orphan file")).unwrap(), pattern(10_000));
    assert_eq!(fs::read(root.join("orphan by path")).unwrap(), b"x");
    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("kept"), inode("orphan linked"));
    assert_eq!(
        fs::metadata(root.join("orphan dir")).unwrap().mode() & 0o7777,
        0o1711
    );
    assert_eq!(
        fs::read_link(root.join("orphan symlink")).unwrap(),
        Path::new("target")
    );
    let mut value = [0; 16];
    let length =
        rustix::fs::lgetxattr(root.join("orphan fifo"), "trusted.x", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"fifo");
}
