//! Pid namespaces within the container's: numbers as others see them, and who begins one.
//!
//! Kind: pure. The first process of a pid namespace is made with it; all others that are in it descend from
//! that one. A process whose children begin in another one than its own has joined it by a pidfd of its first.

use super::Compiler;
use super::lineage::is_zombie;
use super::users;
use crux_image::tasks::{PidNsIndex, Process, ProcessIndex, Tasks};
use crux_script::{Call, arguments};

/// The number of a process in a pid namespace that it is in, or that its own is in.
pub(super) fn number_in(tasks: &Tasks, process: &Process, namespace: PidNsIndex) -> Option<u32> {
    let pids = &process.threads.first()?.pids;
    let chain = std::iter::successors(Some(process.pid_namespace), |it| {
        tasks.pid_namespaces[it.at()].parent
    });
    let mut numbers = chain.zip(pids.iter().rev());
    numbers
        .find(|(at, _)| *at == namespace)
        .map(|(_, pid)| *pid)
}

impl Compiler<'_> {
    /// A number as the process sees it in whose script it is.
    pub(super) fn number_for(&self, at: ProcessIndex, process: &Process) -> Option<u32> {
        let sees = self.tasks.processes[at.at()].pid_namespace;
        number_in(self.tasks, process, sees)
    }

    /// `CLONE_NEWPID`, if a child is the first of one.
    pub(super) fn new_pid_namespace(&self, child: ProcessIndex) -> i32 {
        let process = &self.tasks.processes[child.at()];
        let maker = self.lineage.maker(child);
        let maker = maker.map(|it| self.tasks.processes[it.at()].pid_namespace);
        match maker {
            Some(maker) if maker != process.pid_namespace => libc::CLONE_NEWPID,
            _ => 0,
        }
    }

    pub(super) fn check_pid_namespace(&mut self, at: ProcessIndex, process: &Process) {
        if self.new_pid_namespace(at) == 0 {
            return;
        }
        let tasks = self.tasks;
        let namespace = &tasks.pid_namespaces[process.pid_namespace.at()];
        let maker = self.lineage.maker(at);
        let maker = maker.map(|it| tasks.processes[it.at()].pid_namespace);
        let what = match () {
            () if namespace.parent != maker || self.lineage.has_helper(at) => {
                "is not that of its parent, nor a new one in that"
            }
            () if process.own_pid() != 1 => "is one that it has come into from outside",
            () if namespace.user_namespace != users::born(tasks) => {
                "belongs to another user namespace than that of its parent"
            }
            () => return,
        };
        self.refuse(
            process,
            format!("its pid namespace {what}, which cannot be restored yet"),
        );
    }

    /// The pid namespace in which its further children are to be, if that is another one. Threads are there by
    /// now: none can be made after this.
    pub(super) fn pid_namespace_for_children(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        let mut all = tasks.pid_for_children.iter();
        let Some(found) = all.find(|it| it.process == at) else {
            return;
        };
        let mut all = tasks.processes.iter();
        let first = all
            .find(|it| it.pid_namespace == found.namespace && it.own_pid() == 1 && !is_zombie(it));
        let Some(number) = first.and_then(|first| self.number_for(at, first)) else {
            self.refuse(
                process,
                "its children are to be in a pid namespace whose first process it cannot see, \
                 which cannot be restored yet",
            );
            return;
        };
        let open = Call::new(libc::SYS_pidfd_open).with(arguments![number, 0_u32]);
        let fd = self.call(at, open);
        let join = Call::new(libc::SYS_setns).with(arguments![fd, libc::CLONE_NEWPID]);
        self.call(at, join);
        self.call(at, Call::new(libc::SYS_close).with(arguments![fd]));
    }
}
