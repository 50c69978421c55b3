//! Birth, children, sessions and process groups, and those who have ended.
//!
//! Kind: pure.

use super::Compiler;
use super::lineage::{Helper, is_zombie};
use crate::tasks::plan::TOGETHER;
use crux_image::tasks::{Process, ProcessIndex};
use crux_script::{Block, Call, Expect, ScriptId, arguments};

/// All signals but SIGTRAP, of which stops are made.
const ALL: u64 = !(1 << (libc::SIGTRAP - 1));
/// `sizeof(struct clone_args)`, up to `cgroup`.
const CLONE_ARGS: u64 = 88;

impl Compiler<'_> {
    pub(super) fn birth(&mut self, at: ProcessIndex, process: &Process) {
        if at.at() == 0 {
            let byte = self.arena.block(Block::room(1));
            let gate = Call::new(libc::SYS_read).with(arguments![self.numbers.gate, byte, 1_u32]);
            self.call(at, gate.exactly(1));
            self.mask(at, ALL);
        }
        self.namespaces(at, process);
        let pid = process.first_pid();
        if process.session == pid {
            if !self.has_early_children(at) {
                self.call(at, Call::new(libc::SYS_setsid));
            }
        } else if process.group == pid {
            let setpgid = Call::new(libc::SYS_setpgid).with(arguments![0_u32, 0_u32]);
            self.call(at, setpgid);
        }
        if process.subreaper {
            let option = libc::PR_SET_CHILD_SUBREAPER;
            self.call(
                at,
                Call::new(libc::SYS_prctl).with(arguments![option, 1_u32]),
            );
        }
    }

    fn mask(&mut self, at: ProcessIndex, mask: u64) {
        let set = self.arena.block(Block::words(&[mask]));
        let how = libc::SIG_SETMASK;
        let call = Call::new(libc::SYS_rt_sigprocmask).with(arguments![how, set, 0_u32, 8_u32]);
        self.call(at, call);
    }

    /// Those that differ from the maker's.
    fn namespaces(&mut self, at: ProcessIndex, process: &Process) {
        self.check_user_namespace(at, process);
        self.check_pid_namespace(at, process);
        if is_zombie(process) {
            return;
        }
        self.join_namespaces(at, process);
        if at.at() == 0 {
            self.networks(at, process);
            self.ipc(at);
        }
        let tasks = self.tasks;
        let maker = self.lineage.maker(at).map(|it| &tasks.processes[it.at()]);
        let before = maker.and_then(|maker| maker.mount_namespace);
        if let Some(namespace) = process.mount_namespace.filter(|it| Some(*it) != before) {
            let (fd, root) = self.numbers.namespace(namespace);
            let kind = libc::CLONE_NEWNS;
            self.call(at, Call::new(libc::SYS_setns).with(arguments![fd, kind]));
            self.enter(at, root.into());
        }
    }

    pub(super) fn children(&mut self, at: ProcessIndex, process: &Process) {
        let all = (0..self.tasks.processes.len()).map(ProcessIndex::from);
        let direct = |it: &ProcessIndex| {
            self.lineage.maker(*it) == Some(at) && !self.lineage.has_helper(*it)
        };
        let (early, later): (Vec<_>, Vec<_>) = all
            .filter(direct)
            .partition(|it| self.lineage.is_early(*it));
        let begins = !early.is_empty() && process.session == process.first_pid();
        for child in early {
            self.child(at, child);
        }
        if begins {
            self.call(at, Call::new(libc::SYS_setsid));
            self.take_terminal(at, process);
        }
        let helpers: Vec<_> = self.lineage.helpers(at).cloned().collect();
        for helper in &helpers {
            self.help(at, helper);
        }
        for child in later {
            self.child(at, child);
        }
    }

    /// Whether its session begins when it has made some of its children.
    pub(super) fn begins_late(&self, at: ProcessIndex, process: &Process) -> bool {
        process.session == process.first_pid() && self.has_early_children(at)
    }

    fn has_early_children(&self, at: ProcessIndex) -> bool {
        let mut children = self.tasks.children(at);
        children.any(|it| self.lineage.is_early(it))
    }

    fn child(&mut self, at: ProcessIndex, child: ProcessIndex) {
        let script = self.scripts[at.at()];
        self.make(script, child);
        self.await_end(at, child);
    }

    fn make(&mut self, script: ScriptId, child: ProcessIndex) {
        let process = &self.tasks.processes[child.at()];
        let Some(leader) = process.threads.first() else {
            return;
        };
        let flags = if self.shares_fs(child) {
            libc::CLONE_FS
        } else {
            0
        };
        let flags = flags | self.new_pid_namespace(child);
        let signal = process.exit_signal.into();
        let call = self.clone(flags as u64, signal, &leader.pids);
        let call = call.child(self.scripts[child.at()]);
        self.arena.call(script, call);
    }

    /// A process that has ended is not there yet for as long as it runs: nobody may come to it before.
    fn await_end(&mut self, at: ProcessIndex, child: ProcessIndex) {
        let process = &self.tasks.processes[child.at()];
        if is_zombie(process) {
            let number = self.number_for(at, process).unwrap_or(0);
            self.wait(at, number, libc::WEXITED | libc::WNOWAIT);
        }
    }

    fn wait(&mut self, at: ProcessIndex, pid: u32, options: i32) {
        // __WALL: whatever it says to its parent when it ends, if anything.
        let options = options | libc::__WALL;
        let arguments = arguments![libc::P_PID, pid, 0_u32, options];
        self.call(at, Call::new(libc::SYS_waitid).with(arguments));
    }

    /// A helper makes its children and ends; who adopts them does so then.
    fn help(&mut self, at: ProcessIndex, helper: &Helper) {
        let script = self.arena.script(format!("helper {}", helper.pid));
        let call = self.clone(0, libc::SIGCHLD as u64, &[helper.pid]);
        self.call(at, call.child(script));
        if helper.leads {
            self.arena.call(script, Call::new(libc::SYS_setsid));
        }
        for child in &helper.children {
            self.make(script, *child);
        }
        self.arena.call(script, Call::new(libc::SYS_exit_group));
        self.wait(at, helper.pid, libc::WEXITED);
        for child in &helper.children {
            if self.tasks.processes[child.at()].parent == Some(at) {
                self.await_end(at, *child);
            }
        }
    }

    /// A group whose leader is gone: one that has its number and has ended leads it until this one is in it.
    fn found_group(&mut self, at: ProcessIndex, group: u32) {
        let script = self.arena.script(format!("helper {group}"));
        let call = self.clone(0, libc::SIGCHLD as u64, &[group]);
        self.call(at, call.child(script));
        let setpgid = |group: u32| Call::new(libc::SYS_setpgid).with(arguments![0_u32, group]);
        self.arena.call(script, setpgid(0));
        self.arena.call(script, Call::new(libc::SYS_exit_group));
        self.wait(at, group, libc::WEXITED | libc::WNOWAIT);
        self.call(at, setpgid(group));
        self.wait(at, group, libc::WEXITED);
    }

    /// clone3(2) with the numbers that the child is to have, those of its own namespace first; without any
    /// it gets whichever are free.
    pub(super) fn clone(&mut self, flags: u64, exit_signal: u64, pids: &[u32]) -> Call {
        // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; set_tid, its size, cgroup.
        let arguments = Block::words(&[flags, 0, 0, 0, exit_signal, 0, 0, 0]);
        let arguments = match pids {
            // The kernel wants both or neither.
            [] => arguments.then(&[0, 0, 0]),
            _ => {
                let ids = pids.iter().rev().flat_map(|id| id.to_le_bytes());
                let ids = self.bytes(ids.collect::<Vec<u8>>());
                arguments
                    .then_pointer(ids.at(0))
                    .then(&[pids.len() as u64, 0])
            }
        };
        let block = self.arena.block(arguments);
        Call::new(libc::SYS_clone3).with(arguments![block, CLONE_ARGS])
    }

    /// A process that has ended ends again.
    pub(super) fn end(&mut self, at: ProcessIndex, process: &Process, status: u32) {
        let name = process.threads.first().map(|leader| leader.name.clone());
        self.thread_name(self.scripts[at.at()], &name.unwrap_or_default());
        if let Some(leader) = process.threads.first() {
            let script = self.scripts[at.at()];
            self.credentials(script, process, &leader.credentials);
        }
        let signal = status & 0x7f;
        if signal != 0 {
            // Its action is the default one: nobody has set another.
            self.mask(at, 0);
            let pid = process.own_pid();
            let call = Call::new(libc::SYS_kill).with(arguments![pid, signal]);
            self.call(at, call.expect(Expect::Any));
        }
        let code = status >> 8 & 0xff;
        self.call(at, Call::new(libc::SYS_exit_group).with(arguments![code]));
    }

    /// From here on all processes are there: groups can be joined.
    pub(super) fn together(&mut self, at: ProcessIndex, process: &Process) {
        let founded = self.lineage.founds(at);
        if let Some(group) = founded {
            self.found_group(at, group);
        }
        self.arena.stop(self.scripts[at.at()], TOGETHER);
        if founded.is_none() && self.lineage.first_group(at) != process.group {
            self.join_group(at, process, 0, process.group);
        }
        self.foreground(at, process);
        if at.at() == 0 {
            self.lock_terminals(at);
        }
        let tasks = self.tasks;
        for index in tasks.children(at) {
            let child = &tasks.processes[index.at()];
            if !is_zombie(child) {
                continue;
            }
            if self.lineage.maker(index) != Some(at) {
                self.await_end(at, index);
            }
            if self.lineage.first_group(index) != child.group {
                let number = self.number_for(at, child).unwrap_or(0);
                self.join_group(at, child, number, child.group);
            }
        }
    }

    /// A parent may move a child that has ended.
    fn join_group(&mut self, at: ProcessIndex, process: &Process, who: u32, group: u32) {
        let tasks = self.tasks;
        let mut others = tasks.processes.iter();
        let leader = others.find(|it| it.first_pid() == group);
        let outer = tasks.processes[at.at()].pid_namespace.at() == 0;
        let number = match leader {
            Some(leader) => self.number_for(at, leader),
            None => Some(group).filter(|_| outer),
        };
        if number.is_none() {
            self.refuse(
                process,
                "its process group is one of another pid namespace, which cannot be restored yet",
            );
        }
        let number = number.unwrap_or(0);
        let call = Call::new(libc::SYS_setpgid).with(arguments![who, number]);
        self.call(at, call);
    }
}
