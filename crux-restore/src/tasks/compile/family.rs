//! Birth, children, sessions and process groups, and those who have ended.
//!
//! Kind: pure.

use super::{Compiler, first_pid, own_pid};
use crate::tasks::plan::TOGETHER;
use crux_image::tasks::{Process, ProcessIndex, ProcessState};
use crux_script::{Block, Call, Expect, arguments};

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
        let pid = first_pid(process);
        let parent = process.parent.map(|it| &self.tasks.processes[it.at()]);
        let inherited = parent.map_or(0, |parent| parent.session);
        if process.session == pid {
            self.call(at, Call::new(libc::SYS_setsid));
        } else if process.session != inherited {
            self.refuse(
                process,
                "its session leader is not its parent's, which cannot be restored yet",
            );
        } else if process.group == pid {
            self.call(
                at,
                Call::new(libc::SYS_setpgid).with(arguments![0_u32, 0_u32]),
            );
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

    /// Those that differ from the parent's.
    fn namespaces(&mut self, at: ProcessIndex, process: &Process) {
        let tasks = self.tasks;
        let parent = process.parent.map(|it| &tasks.processes[it.at()]);
        if at.at() == 0 {
            let (net, ipc) = self.numbers.built();
            for (fd, kind) in [(net, libc::CLONE_NEWNET), (ipc, libc::CLONE_NEWIPC)] {
                if let Some(fd) = fd {
                    self.call(at, Call::new(libc::SYS_setns).with(arguments![fd, kind]));
                }
            }
            self.names(at, process);
        }
        if process.user_namespace != parent.and_then(|parent| parent.user_namespace) {
            self.refuse(
                process,
                "it is in a user namespace of its own, which cannot be restored yet",
            );
        }
        if let Some(parent) = parent {
            let zombie = matches!(process.state, ProcessState::Zombie(_));
            for (differs, what) in [
                (process.uts_namespace != parent.uts_namespace, "UTS"),
                (process.ipc_namespace != parent.ipc_namespace, "IPC"),
                (process.net_namespace != parent.net_namespace, "network"),
                (
                    process.cgroup_namespace != parent.cgroup_namespace,
                    "cgroup",
                ),
                (process.time_namespace != parent.time_namespace, "time"),
                (process.pid_namespace != parent.pid_namespace, "pid"),
            ] {
                if differs && !zombie {
                    let what = format!(
                        "it is in another {what} namespace than its parent, which cannot be restored yet"
                    );
                    self.refuse(process, what);
                }
            }
        } else if process.time_namespace.is_some() {
            self.refuse(
                process,
                "it is in a time namespace, which cannot be restored yet",
            );
        }
        let before = parent.and_then(|parent| parent.mount_namespace);
        if let Some(namespace) = process.mount_namespace.filter(|it| Some(*it) != before) {
            let (fd, root) = self.numbers.namespace(namespace);
            let kind = libc::CLONE_NEWNS;
            self.call(at, Call::new(libc::SYS_setns).with(arguments![fd, kind]));
            self.enter(at, root.into());
        }
    }

    /// What the new UTS namespace of the first process calls the machine.
    fn names(&mut self, at: ProcessIndex, process: &Process) {
        let Some(index) = process.uts_namespace else {
            return;
        };
        let tasks = self.tasks;
        let uts = &tasks.uts_namespaces[index.at()];
        for (number, name) in [
            (libc::SYS_sethostname, &uts.host_name),
            (libc::SYS_setdomainname, &uts.domain_name),
        ] {
            let bytes = self.bytes(name.clone());
            self.call(at, Call::new(number).with(arguments![bytes, name.len()]));
        }
    }

    pub(super) fn children(&mut self, at: ProcessIndex, _process: &Process) {
        let tasks = self.tasks;
        for child in tasks.children(at) {
            let process = &tasks.processes[child.at()];
            let Some(leader) = process.threads.first() else {
                continue;
            };
            let call = self.clone(0, process.exit_signal.into(), &leader.pids);
            self.call(at, call.child(self.scripts[child.at()]));
            if let ProcessState::Zombie(_) = process.state {
                // It is not there yet for as long as it runs: nobody may come to it before.
                let options = libc::WEXITED | libc::WNOWAIT;
                let pid = own_pid(process);
                let call =
                    Call::new(libc::SYS_waitid).with(arguments![libc::P_PID, pid, 0_u32, options]);
                self.call(at, call);
            }
        }
    }

    /// clone3(2) with the numbers that the child is to have: those of its own namespace first.
    pub(super) fn clone(&mut self, flags: u64, exit_signal: u64, pids: &[u32]) -> Call {
        let ids: Vec<u8> = pids.iter().rev().flat_map(|id| id.to_le_bytes()).collect();
        let ids = self.bytes(ids);
        // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; set_tid, its size, cgroup.
        let arguments = Block::words(&[flags, 0, 0, 0, exit_signal, 0, 0, 0]);
        let arguments = arguments
            .then_pointer(ids.at(0))
            .then(&[pids.len() as u64, 0]);
        let block = self.arena.block(arguments);
        Call::new(libc::SYS_clone3).with(arguments![block, CLONE_ARGS])
    }

    /// A process that has ended ends again.
    pub(super) fn end(&mut self, at: ProcessIndex, process: &Process, status: u32) {
        let name = process.threads.first().map(|leader| leader.name.clone());
        self.thread_name(self.scripts[at.at()], &name.unwrap_or_default());
        if process.group != first_pid(process) && Some(process.group) != self.parents_group(process)
        {
            let what = "it has ended, and its process group is not its parent's, which cannot be restored yet";
            self.refuse(process, what);
        }
        if let Some(leader) = process.threads.first() {
            let script = self.scripts[at.at()];
            self.credentials(script, process, &leader.credentials);
        }
        let signal = status & 0x7f;
        if signal != 0 {
            // Its action is the default one: nobody has set another.
            self.mask(at, 0);
            let pid = own_pid(process);
            let call = Call::new(libc::SYS_kill).with(arguments![pid, signal]);
            self.call(at, call.expect(Expect::Any));
        }
        let code = status >> 8 & 0xff;
        self.call(at, Call::new(libc::SYS_exit_group).with(arguments![code]));
    }

    fn parents_group(&self, process: &Process) -> Option<u32> {
        let parent = process.parent?;
        Some(self.tasks.processes[parent.at()].group)
    }

    /// From here on all processes are there: groups can be joined.
    pub(super) fn together(&mut self, at: ProcessIndex, process: &Process) {
        let script = self.scripts[at.at()];
        self.arena.stop(script, TOGETHER);
        let pid = first_pid(process);
        if process.group == pid || process.session == pid || process.group == 0 {
            return;
        }
        let tasks = self.tasks;
        let leader = tasks
            .processes
            .iter()
            .find(|it| first_pid(it) == process.group);
        match leader.filter(|it| it.pid_namespace == process.pid_namespace) {
            Some(leader) => {
                let group = own_pid(leader);
                self.call(
                    at,
                    Call::new(libc::SYS_setpgid).with(arguments![0_u32, group]),
                );
            }
            None => self.refuse(
                process,
                "the leader of its process group is gone, which cannot be restored yet",
            ),
        }
    }
}
