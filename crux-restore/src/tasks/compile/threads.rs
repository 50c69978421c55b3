//! Threads, each with a script of its own.
//!
//! Kind: pure.

use super::Compiler;
use crate::tasks::plan::{FINISHED, PlannedThread, WAITS};
use crux_image::tasks::{Process, ProcessIndex, Thread};
use crux_script::{Block, Call, ScriptId, arguments};

/// What threads of a process share (pthread_create(3)).
const THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

impl Compiler<'_> {
    /// All but the leader, which is there.
    pub(super) fn make_threads(&mut self, at: ProcessIndex, process: &Process) {
        for (number, thread) in process.threads.iter().enumerate().skip(1) {
            let tid = thread.pids.first().copied().unwrap_or(0);
            let name = format!("task {} thread {tid}", process.first_pid());
            let script = self.arena.script(name);
            let call = self.clone(THREAD as u32 as u64, 0, &thread.pids);
            self.call(at, call.child(script));
            self.thread(script, process, thread);
            self.finished(at, process, number, script);
        }
    }

    /// The leader's last lines.
    pub(super) fn last_lines(&mut self, at: ProcessIndex, process: &Process) {
        let script = self.scripts[at.at()];
        let Some(leader) = process.threads.first() else {
            return;
        };
        self.timers(at, process);
        self.limits(at, process);
        self.pid_namespace_for_children(at, process);
        self.thread(script, process, leader);
        self.finished(at, process, 0, script);
    }

    fn line(&mut self, script: ScriptId, call: Call) {
        self.arena.call(script, call);
    }

    pub(super) fn thread_name(&mut self, script: ScriptId, name: &[u8]) {
        let mut bytes = name.to_vec();
        bytes.resize(16, 0);
        let block = self.bytes(bytes);
        let call = Call::new(libc::SYS_prctl).with(arguments![libc::PR_SET_NAME, block]);
        self.line(script, call);
    }

    /// What belongs to a thread, credentials last.
    fn thread(&mut self, script: ScriptId, process: &Process, thread: &Thread) {
        self.thread_name(script, &thread.name);
        let address = thread.tid_address;
        let call = Call::new(libc::SYS_set_tid_address).with(arguments![address]);
        self.line(script, call);
        if thread.robust_list.head != 0 {
            let call = Call::new(libc::SYS_set_robust_list).with(arguments![
                thread.robust_list.head,
                thread.robust_list.length
            ]);
            self.line(script, call);
        }
        if let Some(rseq) = thread.rseq {
            let call = Call::new(libc::SYS_rseq).with(arguments![
                rseq.address,
                rseq.size,
                0_u32,
                rseq.signature
            ]);
            self.line(script, call);
        }
        self.alternate_stack(script, thread);
        self.scheduling(script, thread);
        self.queued(script, process, thread);
        let credentials = super::seccomp::for_now(thread);
        self.credentials(script, process, &credentials);
        self.after_credentials(script, process, thread);
    }

    fn alternate_stack(&mut self, script: ScriptId, thread: &Thread) {
        /// `SS_ONSTACK` is what the stack pointer says, not what anybody sets.
        const ONSTACK: u32 = 1;
        let stack = &thread.alternate_stack;
        let flags = u64::from(stack.flags & !ONSTACK);
        let block = Block::words(&[stack.address, flags, stack.size]);
        let block = self.arena.block(block);
        self.line(
            script,
            Call::new(libc::SYS_sigaltstack).with(arguments![block]),
        );
    }

    fn scheduling(&mut self, script: ScriptId, thread: &Thread) {
        let it = &thread.scheduling;
        // struct sched_attr of 48 bytes: size, policy; flags; nice, priority; runtime, deadline, period.
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let words = [
            pair(48, it.policy),
            it.flags,
            pair(it.nice as u32, it.priority),
            it.runtime,
            it.deadline,
            it.period,
        ];
        let block = self.arena.block(Block::words(&words).then(&[0]));
        let call = Call::new(libc::SYS_sched_setattr).with(arguments![0_u32, block]);
        self.line(script, call);
        if !thread.affinity.is_empty() {
            let set = self.bytes(thread.affinity.clone());
            let length = thread.affinity.len();
            let call = Call::new(libc::SYS_sched_setaffinity).with(arguments![0_u32, length, set]);
            // Processors of another machine are other ones.
            self.line(
                script,
                call.expect(crux_script::Expect::SuccessOr(crux_script::Errno(22))),
            );
        }
        if thread.io_priority != 0 {
            let call = Call::new(libc::SYS_ioprio_set).with(arguments![
                1_u32,
                0_u32,
                u32::from(thread.io_priority)
            ]);
            self.line(script, call);
        }
        let option = libc::PR_SET_TIMERSLACK;
        if thread.timer_slack != 0 {
            let call = Call::new(libc::SYS_prctl).with(arguments![option, thread.timer_slack]);
            self.line(script, call);
        }
    }

    /// Signals that wait for this thread. They are blocked here, as they were.
    fn queued(&mut self, script: ScriptId, process: &Process, thread: &Thread) {
        let (pid, tid) = (process.own_pid(), thread.pids.last().copied().unwrap_or(0));
        for info in &thread.pending {
            let signal = info.signal().unwrap_or(0);
            let block = self.bytes(info.bytes.clone());
            let call =
                Call::new(libc::SYS_rt_tgsigqueueinfo).with(arguments![pid, tid, signal, block]);
            self.line(script, call);
        }
    }

    /// What a change of credentials resets.
    fn after_credentials(&mut self, script: ScriptId, process: &Process, thread: &Thread) {
        // It is one for all threads, and each that changes its ids resets it: the last one sets it last.
        if process.dumpable < 2 {
            let option = libc::PR_SET_DUMPABLE;
            let value = u32::from(process.dumpable);
            let call = Call::new(libc::SYS_prctl).with(arguments![option, value]);
            self.line(script, call);
        }
        let option = libc::PR_SET_PDEATHSIG;
        // Whoever started the first process is gone, and with --detach so is this program.
        let alone = self.machine.leaves && self.tasks.processes.first() == Some(process);
        let value = match alone {
            true => 0,
            false => u32::from(thread.parent_death_signal),
        };
        self.line(
            script,
            Call::new(libc::SYS_prctl).with(arguments![option, value]),
        );
    }

    fn finished(&mut self, at: ProcessIndex, process: &Process, number: usize, script: ScriptId) {
        let thread = &process.threads[number];
        if super::finish::is_unknown(thread) {
            let what =
                "it continues a wait, and the image does not say in which call; dump it anew";
            self.refuse(process, what);
        }
        let (mut finish, wait) = super::finish::finish(thread);
        finish.seccomp = self.seccomp(process, thread);
        if let Some(remaining) = wait {
            self.arena.stop(script, WAITS);
            let (seconds, rest) = (remaining / 1_000_000_000, remaining % 1_000_000_000);
            let time = self.arena.block(Block::words(&[seconds, rest]));
            let clock = libc::CLOCK_MONOTONIC;
            let call =
                Call::new(libc::SYS_clock_nanosleep).with(arguments![clock, 0_u32, time, 0_u32]);
            self.line(script, call.expect(crux_script::Expect::Any));
        }
        self.arena.stop(script, FINISHED);
        self.threads.push(PlannedThread {
            process: at,
            thread: number as u32,
            script,
            tid: thread.pids.first().copied().unwrap_or(0),
            finish,
        });
    }
}
