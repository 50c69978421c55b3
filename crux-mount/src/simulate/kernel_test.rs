//! The model against the kernel: random operations on both, with the same outcome.
//!
//! Kind: effect. Each case runs in a thread with a mount namespace of its own,
//! which goes away with the thread.

use super::Place;
use super::groups::GroupId;
use super::kernel::{Attributes, Kernel, MountId, Refusal, Shown, Superblock};
use crux_image::mounts::OriginIndex;
use crux_image::path::RelPath;
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, openat2, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsmount, fsopen, mount_change, move_mount, open_tree,
};
use std::collections::HashMap;

/// Directories in the two file systems whose mounts share and receive.
const TREE: [&str; 4] = ["", "a", "a/b", "c"];
/// Mountpoints in the file system beneath them.
const SPOTS: usize = 24;

#[derive(Debug, Clone, Copy)]
enum Change {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// An operation on mounts chosen by number, modulo how many there are.
#[derive(Debug, Clone, Copy)]
enum Op {
    Change(Change, usize),
    SetGroup(usize, usize),
    Clone(usize, usize),
    Attach(usize, usize, usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let n = 0..64usize;
    let change = prop_oneof![
        4 => Just(Change::Shared), 4 => Just(Change::Slave),
        2 => Just(Change::Private), 1 => Just(Change::Unbindable),
    ];
    let op = prop_oneof![
        5 => (change, n.clone()).prop_map(|(change, a)| Op::Change(change, a)),
        6 => (n.clone(), n.clone()).prop_map(|(a, b)| Op::SetGroup(a, b)),
        4 => (n.clone(), n.clone()).prop_map(|(a, b)| Op::Clone(a, b)),
        4 => (n.clone(), n.clone(), n).prop_map(|(a, b, c)| Op::Attach(a, b, c)),
    ];
    proptest::collection::vec(op, 1..80)
}

/// Mounts in the model and, by the same numbers, on the kernel.
struct Pair {
    model: Kernel<'static>,
    real: Vec<OwnedFd>,
}

impl Pair {
    /// A private tmpfs on /tmp with mountpoints, and two file systems on them.
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        let mut pair = Self {
            model: Kernel::default(),
            real: vec![],
        };
        let spots: Vec<String> = (0..SPOTS).map(|at| format!("d{at}")).collect();
        let base = pair.make(0, spots.iter().map(String::as_str));
        move_mount(
            pair.fd(base),
            "",
            CWD,
            "/tmp",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .unwrap();
        pair.model.put(base, Place::Yard);
        for origin in 1..3 {
            let mount = pair.make(origin, TREE[1..].iter().copied());
            pair.attach(mount, base, &path(&spots[origin as usize]))
                .unwrap();
        }
        pair
    }

    fn make<'a>(&mut self, origin: u32, directories: impl Iterator<Item = &'a str>) -> MountId {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        fsconfig_create(fs.as_fd()).unwrap();
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = fsmount(fs.as_fd(), flags, MountAttrFlags::empty()).unwrap();
        for directory in directories {
            mkdirat(&mount, directory, Mode::RWXU).unwrap();
        }
        self.real.push(mount);
        let origin = OriginIndex(origin);
        self.model.make(
            Superblock(origin),
            origin,
            Shown::Within(RelPath::root()),
            Attributes::Default,
        )
    }

    fn fd(&self, mount: MountId) -> BorrowedFd<'_> {
        self.real[mount.0].as_fd()
    }

    fn chosen(&self, number: usize, wanted: impl Fn(MountId) -> bool) -> Option<MountId> {
        let all: Vec<MountId> = (0..self.real.len())
            .map(MountId)
            .filter(|&id| wanted(id))
            .collect();
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    fn attached(&self, number: usize) -> Option<MountId> {
        self.chosen(number, |id| self.model.get(id).place.is_some())
    }

    /// Paths that exist in what a mount shows, its root among them.
    fn paths(&self, mount: MountId) -> Vec<RelPath> {
        let state = self.model.get(mount);
        let Shown::Within(root) = &state.root else {
            unreachable!()
        };
        match state.origin.0 {
            0 => (0..SPOTS).map(|at| path(&format!("d{at}"))).collect(),
            _ => TREE
                .iter()
                .filter_map(|at| path(at).strip_prefix(root))
                .collect(),
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Change(change, a) => {
                let Some(mount) = self.attached(a).filter(|id| id.0 > 0) else {
                    return;
                };
                self.change(change, mount);
            }
            Op::SetGroup(a, b) => {
                let (Some(from), Some(to)) = (self.attached(a), self.attached(b)) else {
                    return;
                };
                self.set_group(from, to);
            }
            Op::Clone(a, b) => {
                let Some(from) = self.attached(a).filter(|id| id.0 > 0) else {
                    return;
                };
                let paths = self.paths(from);
                let root = paths[b % paths.len()].clone();
                self.clone_mount(from, &root);
            }
            Op::Attach(a, b, c) => {
                let detached = self.chosen(a, |id| self.model.get(id).place.is_none());
                let private =
                    |id| self.model.get(id).place.is_some() && self.model.get(id).group.is_none();
                let parent = self.chosen(b, private);
                let (Some(mount), Some(parent)) = (detached, parent) else {
                    return;
                };
                let paths = self.paths(parent);
                let at = paths[c % paths.len()].clone();
                let _ = self.attach(mount, parent, &at);
            }
        }
    }

    fn set_group(&mut self, from: MountId, to: MountId) {
        let flags = MoveMountFlags::MOVE_MOUNT_SET_GROUP
            | MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH
            | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        let real = move_mount(self.fd(from), "", self.fd(to), "", flags);
        let model = self.model.set_group(from, to);
        assert_eq!(model.map_err(errno), real, "{from:?} to {to:?}");
    }

    fn change(&mut self, change: Change, mount: MountId) {
        let flag = match change {
            Change::Shared => MountPropagationFlags::SHARED,
            Change::Slave => MountPropagationFlags::DOWNSTREAM,
            Change::Private => MountPropagationFlags::PRIVATE,
            Change::Unbindable => MountPropagationFlags::UNBINDABLE,
        };
        let fd = self.fd(mount).as_raw_fd();
        mount_change(format!("/proc/self/fd/{fd}"), flag).unwrap();
        match change {
            Change::Shared => self.model.make_shared(mount),
            Change::Slave => self.model.make_slave(mount),
            Change::Private => self.model.make_private(mount),
            Change::Unbindable => self.model.make_unbindable(mount),
        }
    }

    fn clone_mount(&mut self, from: MountId, root: &RelPath) {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let real = open_beneath(self.fd(from), root).and_then(|fd| open_tree(&fd, "", flags));
        let model = self.model.clone_mount(from, root);
        assert_eq!(
            model.map(|_| ()).map_err(errno),
            real.as_ref().map(|_| ()).map_err(|e| *e)
        );
        self.real.extend(real);
    }

    fn attach(&mut self, mount: MountId, parent: MountId, at: &RelPath) -> Result<(), Errno> {
        // The model borrows paths from the steps of a plan; here there are none.
        let path: &'static RelPath = Box::leak(Box::new(at.clone()));
        let target = self.model.target(parent, path);
        if let Ok(target) = &target
            && self.model.get(target.parent).group.is_some()
        {
            return Ok(());
        }
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        let real = open_beneath(self.fd(parent), at)
            .and_then(|onto| move_mount(self.fd(mount), "", &onto, "", flags));
        let model = target.and_then(|target| self.model.attach(mount, target));
        assert_eq!(
            model.map_err(errno),
            real,
            "{mount:?} on {at} of {parent:?}"
        );
        real
    }

    /// Compares all attached mounts: parents, groups, masters, unbindable.
    fn compare(&self) {
        let table = table();
        let ids: Vec<u64> = self.real.iter().map(mount_id).collect();
        let mut groups: HashMap<GroupId, u64> = HashMap::new();
        let mut pairs: HashMap<u64, GroupId> = HashMap::new();
        let mut same = |model: Option<GroupId>, real: Option<u64>| match (model, real) {
            (None, None) => true,
            (Some(m), Some(r)) => {
                *groups.entry(m).or_insert(r) == r && *pairs.entry(r).or_insert(m) == m
            }
            _ => false,
        };
        for (at, id) in ids.iter().enumerate() {
            let (mount, state) = (MountId(at), self.model.get(MountId(at)));
            if state.place.is_none() {
                continue;
            }
            let line = &table[id];
            assert!(
                same(state.group, line.shared),
                "group of {at}: {state:?} {line:?}"
            );
            assert!(
                same(self.model.master(mount), line.master),
                "master of {at}: {state:?} {line:?}"
            );
            assert_eq!(
                state.unbindable, line.unbindable,
                "{at}: {state:?} {line:?}"
            );
            if let Some((parent, _)) = &state.parent {
                assert_eq!(
                    ids[parent.0], line.parent,
                    "parent of {at}: {state:?} {line:?}"
                );
            }
        }
    }
}

fn path(bytes: &str) -> RelPath {
    RelPath::new(bytes).unwrap()
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::CrossesMount => Errno::XDEV,
        Refusal::WouldPropagate => unreachable!("such operations are left out"),
        Refusal::Unbindable
        | Refusal::OtherSuperblock
        | Refusal::NarrowerSource
        | Refusal::LockedChildren
        | Refusal::TargetNotPrivate
        | Refusal::SourcePrivate => Errno::INVAL,
    }
}

fn open_beneath(start: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, Errno> {
    if path.is_root() {
        return rustix::io::fcntl_dupfd_cloexec(start, 3);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    openat2(start, path.as_bytes(), flags, Mode::empty(), resolve)
}

fn mount_id(fd: &OwnedFd) -> u64 {
    statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .unwrap()
        .stx_mnt_id
}

#[derive(Debug)]
struct Line {
    parent: u64,
    shared: Option<u64>,
    master: Option<u64>,
    unbindable: bool,
}

fn table() -> HashMap<u64, Line> {
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    text.lines().map(line).collect()
}

fn line(text: &str) -> (u64, Line) {
    let words: Vec<&str> = text.split(' ').collect();
    let optional = || words.iter().skip(6).take_while(|word| **word != "-");
    let tagged = |tag: &str| optional().find_map(|word| word.strip_prefix(tag)?.parse().ok());
    let line = Line {
        parent: words[1].parse().unwrap(),
        shared: tagged("shared:"),
        master: tagged("master:"),
        unbindable: optional().any(|word| *word == "unbindable"),
    };
    (words[0].parse().unwrap(), line)
}

fn in_namespace(case: impl FnOnce(Pair) + Send + 'static) {
    let thread = std::thread::spawn(|| case(Pair::new()));
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn root_the_model_and_the_kernel_agree_on_random_operations() {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&ops(), |ops| {
            in_namespace(move |mut pair| {
                for op in ops {
                    pair.run(op);
                    pair.compare();
                }
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn root_becoming_shared_clears_unbindable_and_becoming_a_slave_does_not() {
    in_namespace(|mut pair| {
        let (master, root) = (MountId(1), RelPath::root());
        for at in ["d5", "d6", "d7"] {
            pair.clone_mount(master, &root);
            let clone = MountId(pair.real.len() - 1);
            pair.attach(clone, MountId(0), &path(at)).unwrap();
        }
        let (slave, first, second) = (MountId(3), MountId(4), MountId(5));
        pair.change(Change::Shared, master);
        pair.set_group(master, slave);
        pair.change(Change::Slave, slave);
        pair.change(Change::Unbindable, first);
        pair.change(Change::Unbindable, second);
        pair.set_group(master, first);
        pair.set_group(slave, second);
        pair.compare();
        assert!(!pair.model.get(first).unbindable);
        assert!(pair.model.get(second).unbindable && !pair.model.is_private(second));
    });
}
