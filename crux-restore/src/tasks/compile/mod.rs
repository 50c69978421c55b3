//! From the record of tasks to scripts.
//!
//! Kind: pure. The script of a process, from its first line to its last:
//!
//! 1. *birth*: namespaces, session, process group (`family`);
//! 2. *memory*: what its parent left it and is not its own goes, what is its own comes; pages are read
//!    straight into place (`memory`);
//! 3. *files* that it or its descendants have are opened at numbers above those of any task (`files`);
//! 4. *children* by clone3(2), which shares memory and open files with them (`family`);
//! 5. *together*: a stop at which all wait for all;
//! 6. *settings*: groups, limits, actions, timers, what is pending (`settings`); its own descriptors at their
//!    numbers, all others closed;
//! 7. *threads*, each with a script of its own (`threads`);
//! 8. *credentials*, which take away what the lines before needed (`credentials`).
//!
//! What a task cannot do itself is in [`Finish`](super::plan::Finish).

mod credentials;
mod family;
mod files;
mod finish;
mod ipc;
mod lineage;
#[cfg(test)]
mod lineage_test;
mod memory;
mod namespaces;
mod network;
mod numbers;
mod origins;
mod pages;
mod pids;
mod places;
mod ranges;
mod seccomp;
mod settings;
mod stopped;
mod taken;
#[cfg(test)]
pub(super) mod tests;
mod threads;
mod users;

use super::plan::{Birth, NewNamespaces, PlannedProcess, PlannedThread, TaskPlan};
use crate::grants::DescriptorFacts;
use crate::inward::Outer;
use crux_image::mounts::Mounts;
use crux_image::tasks::{
    CgroupMembership, Clocks, Process, ProcessIndex, ProcessState, Tasks, TerminalIndex,
};
use crux_script::{Arena, Block, BlockId, Call, LineId, ScriptId};
use files::{Homes, Openers};
use lineage::Lineage;
use namespaces::Kind;
use numbers::Numbers;
use places::Places;
use std::collections::{BTreeMap, HashMap};

/// What matters of the machine and of whoever restores.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The code that the kernel maps into every process.
    pub vdso: Vec<u8>,
    /// Hard limits of resources, by number.
    pub limits: Vec<u64>,
    /// Capabilities that tasks can be given.
    pub capabilities: u64,
    /// The effective uid and gid with which tasks are made.
    pub uid: u32,
    /// Likewise.
    pub gid: u32,
    /// The cgroups of whoever restores.
    pub cgroups: Vec<CgroupMembership>,
    /// What the clocks say.
    pub clocks: Clocks,
    /// `/proc/PID/oom_score_adj` of whoever restores.
    pub oom_score_adj: i16,
    /// Numbers of processes and threads that are taken, in their order.
    pub numbers: Vec<u32>,
    /// The first process is not to end with this program (`PR_SET_PDEATHSIG`).
    pub leaves: bool,
    /// Terminals for which no pty is made, as something else was granted under these names.
    pub given: BTreeMap<TerminalIndex, String>,
    /// The supplementary groups of whoever restores.
    pub groups: Vec<u32>,
    /// He has no privilege but that over a user namespace of his own.
    pub(crate) own: Option<Outer>,
    /// What this program was started with.
    pub(crate) descriptors: DescriptorFacts,
    /// The network devices of the caller's namespace, with their indexes.
    pub links: BTreeMap<Vec<u8>, u32>,
    /// The outer ends of pairs of network devices, by the names under which they were granted.
    pub ends: BTreeMap<String, OuterEnd>,
}

/// What the operator wants an end of a pair in his own network namespace to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OuterEnd {
    /// Its name.
    pub name: Vec<u8>,
    /// The bridge that it is to be a port of; empty for none.
    pub bridge: Vec<u8>,
}

/// Why tasks cannot be restored here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {pid}: {what}")]
pub struct Obstacle {
    /// Its number, as the image has it.
    pub pid: u32,
    /// In words.
    pub what: String,
}

/// Compiles tasks that are checked ([`Tasks::check`]), or says all that is in the way.
pub fn compile(
    tasks: &Tasks,
    mounts: &Mounts,
    machine: &Machine,
) -> Result<TaskPlan, Vec<Obstacle>> {
    let mut compiler = Compiler::new(tasks, mounts, machine);
    for (at, what) in std::mem::take(&mut compiler.lineage.obstacles) {
        compiler.refuse(&tasks.processes[at.at()], what);
    }
    for at in 0..tasks.processes.len() {
        compiler.process(at.into());
    }
    match compiler.obstacles.is_empty() {
        true => Ok(compiler.finish()),
        false => Err(compiler.obstacles),
    }
}

/// What is being put together.
struct Compiler<'a> {
    tasks: &'a Tasks,
    mounts: &'a Mounts,
    machine: &'a Machine,
    places: Places<'a>,
    numbers: Numbers,
    lineage: Lineage,
    openers: Openers,
    homes: Homes,
    arena: Arena,
    scripts: Vec<ScriptId>,
    threads: Vec<PlannedThread>,
    obstacles: Vec<Obstacle>,
    strings: HashMap<Vec<u8>, BlockId>,
    has_late: bool,
}

impl<'a> Compiler<'a> {
    fn new(tasks: &'a Tasks, mounts: &'a Mounts, machine: &'a Machine) -> Self {
        let mut arena = Arena::new();
        let name = |process: &Process| format!("task {}", process.first_pid());
        let processes = tasks.processes.iter();
        let scripts = processes.map(|process| arena.script(name(process)));
        let scripts = scripts.collect();
        let lineage = Lineage::new(tasks);
        let openers = Openers::new(tasks, &lineage);
        let homes = Homes::new(tasks, &openers);
        let numbers = Numbers::new(tasks, mounts, &machine.given, &homes);
        for (number, name) in numbers.names() {
            arena.name_descriptor(number as i32, name);
        }
        Self {
            tasks,
            mounts,
            machine,
            places: Places::new(mounts),
            numbers,
            openers,
            homes,
            lineage,
            arena,
            scripts,
            threads: Vec::new(),
            obstacles: Vec::new(),
            strings: HashMap::new(),
            has_late: files::has_late(tasks),
        }
    }

    fn process(&mut self, at: ProcessIndex) {
        let process = &self.tasks.processes[at.at()];
        self.refuse_sharing(at, process);
        self.refuse_taken(at, process);
        self.refuse_score(process);
        self.refuse_others(process);
        self.birth(at, process);
        if let ProcessState::Zombie(status) = process.state {
            self.end(at, process, status);
            return;
        }
        self.memory(at, process);
        self.files(at, process);
        self.children(at, process);
        self.together(at, process);
        self.fill_sockets(at, process);
        self.settings(at, process);
        self.make_threads(at, process);
        self.last_lines(at, process);
    }

    /// What several processes may have in common, and is not made so yet.
    fn refuse_sharing(&mut self, at: ProcessIndex, process: &Process) {
        let others = &self.tasks.processes[..at.at()];
        let shared = |same: &dyn Fn(&Process) -> bool| {
            let found = others.iter().find(|it| same(it));
            found.map(Process::first_pid)
        };
        let memory = shared(&|it| it.space.is_some() && it.space == process.space);
        let table = shared(&|it| it.descriptors.is_some() && it.descriptors == process.descriptors);
        let fs = shared(&|it| it.fs.is_some() && it.fs == process.fs);
        let fs = fs.filter(|_| !self.shares_fs(at));
        for (other, what) in [
            (memory, "memory"),
            (table, "table of descriptors"),
            (fs, "working directory"),
        ] {
            if let Some(other) = other {
                let what =
                    format!("it shares its {what} with task {other}, which cannot be restored yet");
                self.refuse(process, what);
            }
        }
    }

    /// Whether it has root and working directory in common with the process that makes it (`CLONE_FS`).
    fn shares_fs(&self, at: ProcessIndex) -> bool {
        let fs = |at: ProcessIndex| self.tasks.processes[at.at()].fs;
        let maker = self.lineage.maker(at);
        let first = fs(at).map(|it| self.tasks.fs[it.at()].first);
        fs(at).is_some()
            && maker.and_then(fs) == fs(at)
            && !self.lineage.has_helper(at)
            && first != Some(at)
    }

    fn finish(self) -> TaskPlan {
        let first = &self.tasks.processes[0];
        TaskPlan {
            base: self.numbers.base,
            birth: Birth {
                script: self.scripts[0],
                pid: first.first_pid(),
                new: NewNamespaces {
                    pid: self.tasks.pid_namespaces.first().is_some_and(|ns| ns.own),
                    ..self.new_namespaces(Kind::made_at_birth)
                },
                user: self.birth_user(),
                before: self.new_namespaces(|kind, tasks| {
                    kind.born(tasks).is_some() && !kind.made_at_birth(tasks)
                }),
            },
            inherited: self.numbers.inherited(),
            processes: self.planned_processes(),
            threads: self.threads,
            arena: self.arena,
        }
    }

    /// Those of the first task but for its pid namespace.
    fn new_namespaces(&self, wanted: fn(Kind, &Tasks) -> bool) -> NewNamespaces {
        let wanted = |kind| wanted(kind, self.tasks);
        NewNamespaces {
            pid: false,
            uts: wanted(Kind::Uts),
            ipc: wanted(Kind::Ipc) && !self.numbers.built_ipc,
            net: wanted(Kind::Net) && !self.numbers.built_net,
            cgroup: wanted(Kind::Cgroup),
        }
    }

    fn planned_processes(&self) -> Vec<PlannedProcess> {
        let planned = |(at, process): (usize, &Process)| PlannedProcess {
            process: at.into(),
            pid: process.first_pid(),
            state: stopped::state(self.tasks, process),
            oom_score_adj: process.oom_score_adj,
            coredump_filter: process.coredump_filter,
            cgroups: process
                .cgroups
                .iter()
                .map(|it| (it.controllers.clone(), it.path.clone()))
                .collect(),
        };
        self.tasks
            .processes
            .iter()
            .enumerate()
            .map(planned)
            .collect()
    }

    fn call(&mut self, at: ProcessIndex, call: Call) -> LineId {
        self.arena.call(self.scripts[at.at()], call)
    }

    fn bytes(&mut self, bytes: impl Into<Vec<u8>>) -> BlockId {
        self.arena.block(Block::bytes(bytes))
    }

    /// A string with its NUL; a path comes up often.
    fn string(&mut self, text: &[u8]) -> BlockId {
        if let Some(block) = self.strings.get(text) {
            return *block;
        }
        let block = self.bytes([text, b"\0"].concat());
        self.strings.insert(text.to_vec(), block);
        block
    }

    fn refuse(&mut self, process: &Process, what: impl Into<String>) {
        self.obstacles.push(Obstacle {
            pid: process.first_pid(),
            what: what.into(),
        });
    }
}
