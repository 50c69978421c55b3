//! User namespaces of tasks.
//!
//! Kind: pure. Where the container's pid namespace belongs to the user namespace of its first process, that
//! process is born in it, and so are all. Any other user namespace is entered as the last thing before
//! credentials: numbers, limits and files are given with what the first task holds, and there is no way
//! back. Threads get their numbers from who holds the pid namespace, so a process with several cannot go there.

use super::Compiler;
use super::lineage::is_zombie;
use crate::inward::Outer;
use crate::tasks::plan::BirthUser;
use crux_image::mounts::{IdRange, UserNsIndex};
use crux_image::tasks::{Credentials, Process, ProcessIndex, Tasks};
use crux_script::{Call, ScriptId, arguments};

/// All capabilities: who enters a user namespace has them there.
pub(super) const EVERYTHING: u64 = (1 << 41) - 1;

/// What an id is where nothing maps it (`/proc/sys/kernel/overflowgid`).
const NOBODY: u32 = 65534;

/// The one that the first task is born in.
pub(super) fn born(tasks: &Tasks) -> Option<UserNsIndex> {
    let user = tasks.processes.first()?.user_namespace?;
    let pid = tasks.pid_namespaces.first()?;
    (pid.own && pid.user_namespace == Some(user)).then_some(user)
}

/// What an id of the parent is in a namespace.
fn inside(map: &[IdRange], id: u32) -> u32 {
    let mut ranges = map.iter();
    let range = ranges.find(|range| {
        id.checked_sub(range.outside)
            .is_some_and(|at| at < range.count)
    });
    range.map_or(NOBODY, |range| range.inside + (id - range.outside))
}

/// What an id of a namespace is in its parent.
fn outside(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter().find_map(|range| {
        let at = id.checked_sub(range.inside)?;
        (at < range.count).then(|| range.outside.checked_add(at))?
    })
}

impl Compiler<'_> {
    /// How the first task's is made.
    pub(super) fn birth_user(&self) -> Option<BirthUser> {
        let namespace = born(self.tasks)?;
        let record = &self.mounts.user_namespaces[namespace.at()];
        let groups = self.first_groups().iter();
        let groups = groups
            .filter_map(|id| outside(&record.gid_map, *id))
            .collect();
        let denied = self.tasks.without_setgroups.contains(&namespace);
        let sets = denied && self.machine.own.is_none();
        Some(BirthUser {
            namespace,
            uids: record.uid_map.clone(),
            gids: record.gid_map.clone(),
            denied,
            groups: sets.then_some(groups),
        })
    }

    /// What cannot be had without privilege over other users.
    pub(super) fn refuse_others(&mut self, process: &Process) {
        if self.machine.own.is_none() {
            return;
        }
        let of = process.user_namespace;
        let record = of.map(|user| &self.mounts.user_namespaces[user.at()]);
        let inside = |id: &u32| record.map_or(*id, |it| inside(&it.gid_map, *id));
        let mut ours: Vec<u32> = self.machine.groups.iter().map(inside).collect();
        ours.sort_unstable();
        let all = || process.threads.iter().map(|it| &it.credentials);
        let other_groups = |it: &Credentials| {
            let mut groups = it.groups.clone();
            groups.sort_unstable();
            groups != ours
        };
        let other_user =
            |it: &Credentials| record.is_none() && (it.uids, it.gids) != ([0; 4], [0; 4]);
        let foreign = record.is_some_and(|it| !Outer::are_his([&it.uid_map, &it.gid_map]));
        for (is_so, what) in [
            (
                foreign,
                "its user namespace maps ids that are not his who restores, which needs CAP_SETUID and CAP_SETGID",
            ),
            (
                all().any(other_user),
                "it is not of root, nor in a user namespace, and its ids need CAP_SETUID and CAP_SETGID",
            ),
            (
                all().any(other_groups),
                "it has other groups than he who restores, and setting them needs CAP_SETGID",
            ),
        ] {
            if is_so {
                self.refuse(process, what);
            }
        }
    }

    /// The user namespace that a process has to enter, if it is not born in it.
    pub(super) fn entered(&self, process: &Process) -> Option<UserNsIndex> {
        let user = process.user_namespace;
        user.filter(|_| user != born(self.tasks))
    }

    /// What cannot be had there.
    pub(super) fn check_user_namespace(&mut self, at: ProcessIndex, process: &Process) {
        let born = born(self.tasks);
        let record = |user: UserNsIndex| &self.mounts.user_namespaces[user.at()];
        if at.at() == 0 && born.is_some_and(|user| record(user).parent.is_some()) {
            self.refuse(
                process,
                "its user namespace is in one that no process is in, which cannot be restored yet",
            );
        }
        if process.user_namespace == born || process.user_namespace.is_none() && is_zombie(process)
        {
            return;
        }
        let Some(user) = process.user_namespace else {
            self.refuse(
                process,
                "it is in the caller's user namespace, where the first process is not, \
                 which cannot be restored yet",
            );
            return;
        };
        let mut line = std::iter::successors(Some(user), |it| record(*it).parent);
        let beneath = born.is_none_or(|born| line.any(|it| it == born));
        let others = self.tasks.processes.iter().filter(|it| it.fs == process.fs);
        let shares = process.fs.is_some() && others.count() > 1;
        let several = process.threads.len() > 1;
        for (is_so, what) in [
            (!beneath, "is not in that of the first process"),
            (
                shares,
                "is another one, and it shares its working directory",
            ),
            (
                several,
                "does not own its pid namespace, and it has several threads",
            ),
        ] {
            if is_so {
                self.refuse(
                    process,
                    format!("its user namespace {what}, which cannot be restored yet"),
                );
            }
        }
    }

    /// Groups where the namespace denies them, and the namespace.
    pub(super) fn enter_user_namespace(
        &mut self,
        script: ScriptId,
        process: &Process,
        wanted: &Credentials,
    ) {
        let Some(user) = self.entered(process) else {
            return;
        };
        if self.denies_groups(process) && self.machine.own.is_none() {
            let groups = wanted
                .groups
                .iter()
                .filter_map(|id| self.outermost(user, *id));
            let groups: Vec<u32> = groups.collect();
            self.set_groups(script, &groups);
        }
        let fd = self.numbers.user(user);
        for call in [
            Call::new(libc::SYS_setns).with(arguments![fd, libc::CLONE_NEWUSER]),
            Call::new(libc::SYS_close).with(arguments![fd]),
        ] {
            self.arena.call(script, call);
        }
    }

    pub(super) fn denies_groups(&self, process: &Process) -> bool {
        let user = process.user_namespace;
        user.is_some_and(|user| self.tasks.without_setgroups.contains(&user))
    }

    /// A group as the first task has it.
    fn outermost(&self, user: UserNsIndex, id: u32) -> Option<u32> {
        let (mut here, mut id) = (Some(user), id);
        while let Some(user) = here.filter(|it| Some(*it) != born(self.tasks)) {
            let record = &self.mounts.user_namespaces[user.at()];
            id = outside(&record.gid_map, id)?;
            here = record.parent;
        }
        Some(id)
    }
}
