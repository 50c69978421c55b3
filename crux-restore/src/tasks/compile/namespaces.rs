//! UTS, IPC, network, cgroup and time namespaces: each is made once, by the first task, and
//! has a descriptor by which tasks join it.
//!
//! Kind: pure. The first task is born in those of its own that clone3(2) makes. All others it
//! makes before it enters the container's mounts, where /proc is still the caller's: it unshares, opens what
//! it is in by then, and goes back. What a user namespace of the container owns is made by a helper that
//! enters that one and shares the first task's descriptors, for there is no way back from there.

use super::Compiler;
use super::lineage::is_zombie;
use super::users;
use crux_image::mounts::UserNsIndex;
use crux_image::tasks::{Process, ProcessIndex, Tasks, TimeNsIndex};
use crux_script::{Call, ScriptId, arguments};
use std::collections::BTreeSet;

/// A kind of namespace that a task changes for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Uts,
    Ipc,
    Net,
    Cgroup,
    Time,
}

/// `CLONE_NEWTIME`; libc has it only for some targets.
const NEWTIME: i32 = 0x80;

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Uts, Self::Ipc, Self::Net, Self::Cgroup, Self::Time];

    fn flag(self) -> i32 {
        match self {
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Net => libc::CLONE_NEWNET,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => NEWTIME,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uts => "UTS",
            Self::Ipc => "IPC",
            Self::Net => "network",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// Where a task finds the one that it is in.
    fn current(self) -> &'static [u8] {
        match self {
            Self::Uts => b"/proc/thread-self/ns/uts",
            Self::Ipc => b"/proc/thread-self/ns/ipc",
            Self::Net => b"/proc/thread-self/ns/net",
            Self::Cgroup => b"/proc/thread-self/ns/cgroup",
            Self::Time => b"/proc/thread-self/ns/time",
        }
    }

    /// Where it finds the one that it has just unshared.
    fn unshared(self) -> &'static [u8] {
        match self {
            Self::Time => b"/proc/thread-self/ns/time_for_children",
            _ => self.current(),
        }
    }

    /// That of a process; none is the caller's.
    pub(super) fn of(self, process: &Process) -> Option<usize> {
        match self {
            Self::Uts => process.uts_namespace.map(|it| it.at()),
            Self::Ipc => process.ipc_namespace.map(|it| it.at()),
            Self::Net => process.net_namespace.map(|it| it.at()),
            Self::Cgroup => process.cgroup_namespace.map(|it| it.at()),
            Self::Time => process.time_namespace.map(|it| it.at()),
        }
    }

    /// How many the record has.
    pub(super) fn count(self, tasks: &Tasks) -> usize {
        match self {
            Self::Uts => tasks.uts_namespaces.len(),
            Self::Ipc => tasks.ipc_namespaces.len(),
            Self::Net => tasks.net_namespaces.len(),
            Self::Cgroup => tasks.cgroup_namespaces.len(),
            Self::Time => tasks.time_namespaces.len(),
        }
    }

    fn owner(self, tasks: &Tasks, at: usize) -> Option<UserNsIndex> {
        match self {
            Self::Uts => tasks.uts_namespaces[at].user_namespace,
            Self::Ipc => tasks.ipc_namespaces[at].user_namespace,
            Self::Net => tasks.net_namespaces[at].user_namespace,
            Self::Cgroup => tasks.cgroup_namespaces[at].user_namespace,
            Self::Time => tasks.time_namespaces[at].user_namespace,
        }
    }

    /// The one that the first task is born in. A time namespace has its offsets before anybody is in it;
    /// what another user namespace owns is made in that.
    pub(super) fn born(self, tasks: &Tasks) -> Option<usize> {
        let at = self.of(tasks.processes.first()?)?;
        let owner = self.owner(tasks, at);
        let plain = owner.is_none() || owner == users::born(tasks);
        (self != Self::Time && plain).then_some(at)
    }

    /// Whether that is made with it, and not before.
    pub(super) fn made_at_birth(self, tasks: &Tasks) -> bool {
        let born = self.born(tasks);
        born.is_some_and(|at| self.owner(tasks, at) == users::born(tasks))
    }
}

impl Compiler<'_> {
    /// Those that differ from the maker's. The first task makes what it and others are to join.
    pub(super) fn join_namespaces(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        if at.at() == 0 {
            if Kind::Cgroup.born(tasks).is_some() {
                let flags = libc::CLONE_NEWCGROUP;
                self.call(at, Call::new(libc::SYS_unshare).with(arguments![flags]));
            }
            self.join_built(at);
            self.names(self.scripts[0], Kind::Uts.born(tasks));
            for kind in Kind::ALL {
                self.make_namespaces(kind);
            }
        }
        let maker = self.lineage.maker(at).map(|it| &tasks.processes[it.at()]);
        for kind in Kind::ALL {
            let before = maker.map_or(kind.born(tasks), |maker| kind.of(maker));
            let wanted = kind.of(process);
            if wanted == before || is_zombie(process) {
                continue;
            }
            if wanted.is_none() && kind.born(tasks).is_some() {
                let name = kind.name();
                self.refuse(
                    process,
                    format!(
                        "it is in the caller's {name} namespace, where the first process is not, \
                         which cannot be restored yet"
                    ),
                );
                continue;
            }
            let fd = self.numbers.kept(kind, wanted);
            self.call(
                at,
                Call::new(libc::SYS_setns).with(arguments![fd, kind.flag()]),
            );
        }
    }

    /// Those that the builder had to make, as file systems show them.
    fn join_built(&mut self, at: ProcessIndex) {
        let (net, ipc) = self.numbers.built();
        for (fd, kind) in [(net, Kind::Net), (ipc, Kind::Ipc)] {
            if let Some(fd) = fd {
                let first = &self.tasks.processes[0];
                if kind.of(first) != kind.born(self.tasks) {
                    let name = kind.name();
                    self.refuse(
                        first,
                        format!(
                            "a file system shows its {name} namespace, which a user namespace owns that does \
                             not own its pid namespace: this cannot be restored yet"
                        ),
                    );
                }
                self.call(
                    at,
                    Call::new(libc::SYS_setns).with(arguments![fd, kind.flag()]),
                );
            }
        }
    }

    /// All of a kind but the one that the first task is born in, if anybody is to join one.
    fn make_namespaces(&mut self, kind: Kind) {
        let tasks = self.tasks;
        let living = tasks.processes.iter().filter(|it| !is_zombie(it));
        let wanted: BTreeSet<_> = living.map(|it| kind.of(it)).collect();
        let born = kind.born(tasks);
        if wanted.iter().all(|it| *it == born) {
            return;
        }
        let script = self.scripts[0];
        self.keep_namespace(script, kind.current(), self.numbers.kept(kind, born));
        for made in wanted.into_iter().flatten().filter(|it| Some(*it) != born) {
            if kind == Kind::Cgroup {
                self.refuse_other_root(made);
            }
            match kind.owner(tasks, made) {
                None if users::born(tasks).is_some() => self.refuse_callers(kind, made),
                owner if owner == users::born(tasks) => {
                    self.make_namespace(script, kind, made);
                    let home = arguments![self.numbers.kept(kind, born), kind.flag()];
                    self.arena
                        .call(script, Call::new(libc::SYS_setns).with(home));
                }
                Some(user) => self.make_inside(kind, made, user),
                None => {}
            }
        }
    }

    /// The root of a new cgroup namespace is where its maker is.
    fn refuse_other_root(&mut self, made: usize) {
        let tasks = self.tasks;
        let here = &tasks.processes[0].cgroups;
        let mut roots = tasks.cgroup_namespaces[made].roots.iter();
        if roots.all(|root| here.contains(root)) {
            return;
        }
        self.refuse_namespace(
            Kind::Cgroup,
            made,
            "the root of its cgroup namespace is not where the first process is, \
             which cannot be restored yet",
        );
    }

    /// The first task is in a user namespace, and can make none that belongs outside of it.
    fn refuse_callers(&mut self, kind: Kind, made: usize) {
        let what = format!(
            "its {} namespace belongs to the caller's user namespace, where the first process is not, \
             which cannot be restored yet",
            kind.name()
        );
        self.refuse_namespace(kind, made, what);
    }

    fn refuse_namespace(&mut self, kind: Kind, made: usize, what: impl Into<String>) {
        let inside = |it: &&Process| kind.of(it) == Some(made);
        if let Some(process) = self.tasks.processes.iter().find(inside) {
            self.refuse(process, what);
        }
    }

    /// In a user namespace, by a helper that ends there. Descriptors are the first task's.
    fn make_inside(&mut self, kind: Kind, made: usize, user: UserNsIndex) {
        let helper = self.help_in_user_namespace(user, &format!("a {} namespace", kind.name()));
        self.make_namespace(helper, kind, made);
        self.end_help(helper);
    }

    /// A helper of the first task that shares its descriptors, and is in a user namespace. The first task waits for
    /// its end: what it does is to be added now.
    pub(super) fn help_in_user_namespace(&mut self, user: UserNsIndex, what: &str) -> ScriptId {
        let helper = self.arena.script(format!("helper for {what}"));
        let call = self.clone(libc::CLONE_FILES as u64, libc::SIGCHLD as u64, &[]);
        let child = self.arena.call(self.scripts[0], call.child(helper));
        let options = libc::WEXITED | libc::__WALL;
        let wait = arguments![libc::P_PID, child, 0_u32, options];
        self.arena
            .call(self.scripts[0], Call::new(libc::SYS_waitid).with(wait));
        let enter = arguments![self.numbers.user(user), libc::CLONE_NEWUSER];
        self.arena
            .call(helper, Call::new(libc::SYS_setns).with(enter));
        helper
    }

    pub(super) fn end_help(&mut self, helper: ScriptId) {
        self.arena.call(helper, Call::new(libc::SYS_exit_group));
    }

    /// Makes one, with what is in it, and keeps a descriptor of it.
    fn make_namespace(&mut self, script: ScriptId, kind: Kind, made: usize) {
        self.arena.call(
            script,
            Call::new(libc::SYS_unshare).with(arguments![kind.flag()]),
        );
        match kind {
            Kind::Uts => self.names(script, Some(made)),
            Kind::Time => self.offsets(script, made.into()),
            Kind::Net | Kind::Ipc | Kind::Cgroup => {}
        }
        let number = self.numbers.kept(kind, Some(made));
        self.keep_namespace(script, kind.unshared(), number);
    }

    fn keep_namespace(&mut self, script: ScriptId, path: &[u8], number: u32) {
        let path = self.string(path);
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let open = Call::new(libc::SYS_openat).with(arguments![libc::AT_FDCWD, path, flags]);
        let fd = self.arena.call(script, open);
        let keep = Call::new(libc::SYS_dup3).with(arguments![fd, number, libc::O_CLOEXEC]);
        self.arena.call(script, keep);
        self.arena
            .call(script, Call::new(libc::SYS_close).with(arguments![fd]));
    }

    /// What a new UTS namespace calls the machine.
    fn names(&mut self, script: ScriptId, at: Option<usize>) {
        let Some(at) = at else { return };
        let tasks = self.tasks;
        let uts = &tasks.uts_namespaces[at];
        for (number, name) in [
            (libc::SYS_sethostname, &uts.host_name),
            (libc::SYS_setdomainname, &uts.domain_name),
        ] {
            let bytes = self.bytes(name.clone());
            let call = Call::new(number).with(arguments![bytes, name.len()]);
            self.arena.call(script, call);
        }
    }

    /// A time namespace goes on where its clocks were.
    fn offsets(&mut self, script: ScriptId, at: TimeNsIndex) {
        let tasks = self.tasks;
        let (namespace, before, now) = (
            &tasks.time_namespaces[at.at()],
            &tasks.clocks,
            &self.machine.clocks,
        );
        let line = |name: &str, offset: i64, before: u64, now: u64| {
            let offset = i128::from(offset) + i128::from(before) - i128::from(now);
            let (seconds, rest) = (offset.div_euclid(SECOND), offset.rem_euclid(SECOND));
            format!("{name} {seconds} {rest}\n")
        };
        let text = [
            line(
                "monotonic",
                namespace.monotonic,
                before.monotonic,
                now.monotonic,
            ),
            line(
                "boottime",
                namespace.boottime,
                before.boottime,
                now.boottime,
            ),
        ]
        .concat();
        let path = self.string(b"/proc/self/timens_offsets");
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        let open = Call::new(libc::SYS_openat).with(arguments![libc::AT_FDCWD, path, flags]);
        let fd = self.arena.call(script, open);
        let length = text.len();
        let text = self.bytes(text);
        let write = Call::new(libc::SYS_write).with(arguments![fd, text, length]);
        self.arena.call(script, write.exactly(length as u64));
        self.arena
            .call(script, Call::new(libc::SYS_close).with(arguments![fd]));
    }
}

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;
