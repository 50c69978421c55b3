//! A mount namespace of a test's own.
//!
//! It is that of a thread, which ends with the test, so that it works both with nextest (a process
//! for each test) and with `cargo test` (threads of one). Nothing that is mounted in it is seen outside.

#![allow(dead_code)] // each test file uses a part

use crux_image::path::RelPath;
use crux_mount::sys::{self, NamespaceKind, Open};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

pub(crate) const MS_PRIVATE: u64 = libc::MS_PRIVATE;
pub(crate) const MS_SHARED: u64 = libc::MS_SHARED;
pub(crate) const MS_SLAVE: u64 = libc::MS_SLAVE;
pub(crate) const MS_UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// Runs `body` in a copy of the mount namespace in which all is private, with an empty
/// tmpfs that is mounted on `/mnt`.
pub(crate) fn in_private_namespace(body: impl FnOnce(OwnedFd) + Send + 'static) {
    let thread = std::thread::spawn(move || body(enter_private_namespace()));
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `setup` in such a namespace, then `look` in this thread, while the other one waits
/// in its namespace; `look` is given the directory of the other thread in /proc.
pub(crate) fn from_outside(
    setup: impl FnOnce(OwnedFd) + Send + 'static,
    look: impl FnOnce(OwnedFd),
) {
    let (ready, wait_ready) = channel();
    let (done, wait_done) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let yard = enter_private_namespace();
        let own = open_directory("/proc/thread-self");
        setup(yard);
        ready.send(own).unwrap();
        let _ = wait_done.recv();
    });
    if let Ok(process) = wait_ready.recv() {
        look(process);
    }
    drop(done);
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn enter_private_namespace() -> OwnedFd {
    sys::unshare_mount_namespace().unwrap();
    sys::mount_setattr_recursive(open("/").as_fd(), 0, 0, MS_PRIVATE, None).unwrap();
    let yard = tmpfs();
    sys::move_mount(&yard, open("/mnt")).unwrap();
    yard
}

/// Runs the test `name` again in an unprivileged user namespace with a mount namespace of its
/// own, where `body` runs. (A user namespace wants a process with one thread, so: another program.)
pub(crate) fn in_user_namespace(name: &str, body: impl FnOnce()) {
    const INSIDE: &str = "CRUX_TEST_INSIDE_USER_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A new tmpfs, detached.
pub(crate) fn tmpfs() -> OwnedFd {
    let context = sys::fsopen("tmpfs").unwrap();
    sys::fsconfig_create(&context).unwrap();
    sys::fsmount(&context).unwrap()
}

/// A new tmpfs in a new directory.
pub(crate) fn tmpfs_at(at: impl AsFd, name: &str) -> OwnedFd {
    let mount = tmpfs();
    sys::move_mount(&mount, mkdir(at, name)).unwrap();
    mount
}

pub(crate) fn propagation(mount: impl AsFd, kind: u64) {
    sys::mount_setattr(mount.as_fd(), 0, 0, kind, None).unwrap();
}

pub(crate) fn open(path: &str) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

pub(crate) fn open_directory(path: &str) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

pub(crate) fn mkdir(at: impl AsFd, name: &str) -> OwnedFd {
    rustix::fs::mkdirat(at.as_fd(), name, Mode::from_raw_mode(0o755)).unwrap();
    below(at, name)
}

pub(crate) fn touch(at: impl AsFd, name: &str) -> OwnedFd {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(at.as_fd(), name, flags, Mode::from_raw_mode(0o644)).unwrap();
    below(at, name)
}

pub(crate) fn symlink(at: impl AsFd, target: &str, name: &str) -> OwnedFd {
    rustix::fs::symlinkat(target, at.as_fd(), name).unwrap();
    below(at, name)
}

pub(crate) fn below(at: impl AsFd, name: &str) -> OwnedFd {
    sys::open_beneath(at.as_fd(), &rel(name), Open::Any).unwrap()
}

pub(crate) fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

/// A process in a user namespace, which ends with it.
pub(crate) struct UserNamespace(Child);

impl UserNamespace {
    pub(crate) fn with_map(map: &str) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        holder
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0])
            .unwrap();
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{file}", holder.id()), map).unwrap();
        }
        Self(holder)
    }

    pub(crate) fn open(&self) -> OwnedFd {
        let process = open_directory(&format!("/proc/{}", self.0.id()));
        sys::open_process_namespace(process.as_fd(), NamespaceKind::User).unwrap()
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Whether this kernel can id-map a tmpfs, which it can since Linux 6.3.
pub(crate) fn tmpfs_takes_id_maps() -> bool {
    let user = UserNamespace::with_map("0 100000 1000").open();
    let mapped = sys::mount_setattr(tmpfs().as_fd(), 0, 0, 0, Some(user.as_fd()));
    match mapped {
        Ok(()) => true,
        Err(error) if error.errno() == Errno::INVAL => false,
        Err(error) => panic!("{error}"),
    }
}
