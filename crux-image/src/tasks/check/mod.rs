//! Whether a record of tasks means anything: indexes, numbers, ranges.
//!
//! Kind: pure, linear in the size of the record (but for sorting), without recursion.
//! What passes can be compiled into scripts without a bounds check failing or a loop
//! not ending; whether this kernel can run them is the planner's business.

mod bpf;
mod files;
mod ipc;
mod locks;
mod memory;
mod network;
mod processes;
mod rule;
mod seccomp;
mod sockets;
mod terminals;

pub use rule::{TasksError, TasksPlace, TasksRule};

use super::Tasks;
use crate::mounts::Mounts;

/// Most processes and threads: the kernel's own limit (`PID_MAX_LIMIT`).
const TASK_LIMIT: usize = 1 << 22;
const NAMESPACE_LIMIT: usize = 10_000;
/// Descriptors, open files, areas, pages in runs.
const PART_LIMIT: usize = 1 << 24;

impl Tasks {
    /// Checks every rule of `docs/format.md`; the first that fails is the error. `mounts`
    /// is the record of the same image, which has passed its own check.
    pub fn check(&self, mounts: &Mounts) -> Result<(), TasksError> {
        self.check_counts()?;
        processes::check(self, mounts)?;
        memory::check(self, mounts)?;
        files::check(self, mounts)?;
        locks::check(self)?;
        ipc::check(self)?;
        sockets::check(self, mounts)?;
        seccomp::check(self)?;
        bpf::check(self)?;
        terminals::check(self, mounts)?;
        network::check(self)
    }

    fn check_counts(&self) -> Result<(), TasksError> {
        for (what, count, limit) in [
            ("processes", self.processes.len(), TASK_LIMIT),
            ("address spaces", self.spaces.len(), TASK_LIMIT),
            (
                "descriptor tables",
                self.descriptor_tables.len(),
                TASK_LIMIT,
            ),
            ("root and working directories", self.fs.len(), TASK_LIMIT),
            (
                "shared memory objects",
                self.shared_memory.len(),
                PART_LIMIT,
            ),
            ("open files", self.files.len(), PART_LIMIT),
            ("unlinked files", self.unlinked.len(), PART_LIMIT),
            ("pipes", self.pipes.len(), PART_LIMIT),
            ("sockets", self.sockets.len(), PART_LIMIT),
            ("terminals", self.terminals.len(), NAMESPACE_LIMIT),
            ("controlling terminals", self.controlling.len(), TASK_LIMIT),
            (
                "removed working directories",
                self.removed_working.len(),
                TASK_LIMIT,
            ),
            ("pid namespaces", self.pid_namespaces.len(), NAMESPACE_LIMIT),
            ("UTS namespaces", self.uts_namespaces.len(), NAMESPACE_LIMIT),
            ("IPC namespaces", self.ipc_namespaces.len(), NAMESPACE_LIMIT),
            (
                "network namespaces",
                self.net_namespaces.len(),
                NAMESPACE_LIMIT,
            ),
            (
                "cgroup namespaces",
                self.cgroup_namespaces.len(),
                NAMESPACE_LIMIT,
            ),
            (
                "time namespaces",
                self.time_namespaces.len(),
                NAMESPACE_LIMIT,
            ),
            (
                "contents of IPC namespaces",
                self.ipc_contents.len(),
                NAMESPACE_LIMIT,
            ),
            ("cgroups", self.cgroups.len(), TASK_LIMIT),
            (
                "settings of cgroups",
                self.cgroup_settings.len(),
                TASK_LIMIT,
            ),
            ("networks", self.networks.len(), NAMESPACE_LIMIT),
        ] {
            at_most(what, count, limit).map_err(|rule| rule.at(TasksPlace::Record))?;
        }
        match self.processes.is_empty() {
            true => Err(TasksRule::NoProcess.at(TasksPlace::Record)),
            false => Ok(()),
        }
    }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), TasksRule> {
    match count <= limit {
        true => Ok(()),
        false => Err(TasksRule::TooMany { what, count, limit }),
    }
}

fn in_range(what: &'static str, index: usize, count: usize) -> Result<(), TasksRule> {
    match index < count {
        true => Ok(()),
        false => Err(TasksRule::Index { what, index, count }),
    }
}

fn value(what: &'static str, found: u64, limit: u64) -> Result<(), TasksRule> {
    match found <= limit {
        true => Ok(()),
        false => Err(TasksRule::Value { what, found, limit }),
    }
}
