//! What others have, or would not let tasks have.
//!
//! Kind: pure. It would fail when the mounts are there already.

use super::Compiler;
use crux_image::tasks::{Process, ProcessIndex};

/// `CAP_SYS_RESOURCE`.
const RESOURCE: u64 = 1 << 24;

impl Compiler<'_> {
    /// Numbers of the caller's pid namespace: those of threads, and of groups and sessions whose leaders are gone.
    pub(super) fn refuse_taken(&mut self, at: ProcessIndex, process: &Process) {
        let own = self.tasks.pid_namespaces.first().is_some_and(|it| it.own);
        if own {
            return;
        }
        let threads = process.threads.iter();
        let mut numbers: Vec<u32> = threads.filter_map(|it| it.pids.first().copied()).collect();
        numbers.extend([process.group, process.session]);
        numbers.sort_unstable();
        numbers.dedup();
        let earlier = &self.tasks.processes[..at.at()];
        for number in numbers {
            let told = earlier
                .iter()
                .any(|it| it.group == number || it.session == number);
            if !told && self.machine.numbers.binary_search(&number).is_ok() {
                let what = format!("number {number} is that of another process here");
                self.refuse(process, what);
            }
        }
    }

    /// A score below ours.
    pub(super) fn refuse_score(&mut self, process: &Process) {
        let (wanted, ours) = (process.oom_score_adj, self.machine.oom_score_adj);
        if wanted < ours {
            let what = format!(
                "its oom_score_adj is {wanted}, and ours is {ours}: start crux-restore with {wanted} or less"
            );
            self.refuse(process, what);
        }
    }

    /// Whether a hard limit above ours can be set.
    pub(super) fn may_raise_limits(&self, process: &Process) -> bool {
        // In a user namespace that capability is another.
        self.machine.capabilities & RESOURCE != 0 && process.user_namespace.is_none()
    }
}
