//! Who makes whom.
//!
//! Kind: pure. A process is mostly made by its parent. One that was adopted was made by somebody who is
//! gone: a helper makes it again and ends, and whoever adopted it then does so now. A helper stands
//! for the leader of its session, if that is gone too, and is otherwise a child of that leader.

use crux_image::tasks::{Process, ProcessIndex, ProcessState, Tasks};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The origins of all processes.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    makers: Vec<Option<ProcessIndex>>,
    /// The process group that each is in before it joins another.
    groups: Vec<u32>,
    early: HashSet<ProcessIndex>,
    helpers: Vec<Helper>,
    /// Groups whose leader is gone, and the process that brings them about.
    founders: BTreeMap<ProcessIndex, u32>,
    /// What cannot be made.
    pub(super) obstacles: Vec<(ProcessIndex, String)>,
}

/// A process that makes others and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helper {
    /// Who makes it.
    pub(super) maker: ProcessIndex,
    /// Its number.
    pub(super) pid: u32,
    /// Whether it begins a session, which then has its number.
    pub(super) leads: bool,
    /// Whom it makes.
    pub(super) children: Vec<ProcessIndex>,
}

impl Lineage {
    pub(super) fn new(tasks: &Tasks) -> Self {
        let mut family = Family::new(tasks);
        for at in 1..tasks.processes.len() {
            family.place(at.into());
        }
        let mut lineage = family.lineage;
        lineage.refuse_circles();
        if lineage.obstacles.is_empty() {
            lineage.assign_groups(tasks);
            lineage.find_founders(tasks);
        }
        lineage
    }

    /// Whose script makes it, or its helper.
    pub(super) fn maker(&self, at: ProcessIndex) -> Option<ProcessIndex> {
        self.makers.get(at.at()).copied().flatten()
    }

    /// Whether it is made before its maker begins a session.
    pub(super) fn is_early(&self, at: ProcessIndex) -> bool {
        self.early.contains(&at)
    }

    /// The helpers that a process makes.
    pub(super) fn helpers(&self, maker: ProcessIndex) -> impl Iterator<Item = &Helper> {
        self.helpers.iter().filter(move |it| it.maker == maker)
    }

    /// Whether a helper makes it.
    pub(super) fn has_helper(&self, at: ProcessIndex) -> bool {
        self.helpers.iter().any(|it| it.children.contains(&at))
    }

    /// The process group that it is born into, or begins at once.
    pub(super) fn first_group(&self, at: ProcessIndex) -> u32 {
        self.groups.get(at.at()).copied().unwrap_or(0)
    }

    /// The group without a leader that this process has to bring about.
    pub(super) fn founds(&self, at: ProcessIndex) -> Option<u32> {
        self.founders.get(&at).copied()
    }

    /// The last process that both descend from.
    pub(super) fn ancestor(&self, one: ProcessIndex, two: ProcessIndex) -> ProcessIndex {
        let above: HashSet<_> = self.line(one).collect();
        let mut line = self.line(two);
        line.find(|it| above.contains(it))
            .unwrap_or(ProcessIndex(0))
    }

    /// A process, its maker, and so on.
    pub(super) fn line(&self, from: ProcessIndex) -> impl Iterator<Item = ProcessIndex> {
        let line = std::iter::successors(Some(from), |it| self.maker(*it));
        line.take(self.makers.len())
    }

    /// A record may say that two processes made each other.
    fn refuse_circles(&mut self) {
        let mut good = HashSet::from([ProcessIndex(0)]);
        for at in (0..self.makers.len()).map(ProcessIndex::from) {
            let line: Vec<_> = self.line(at).take_while(|it| !good.contains(it)).collect();
            match line.last().and_then(|last| self.maker(*last)) {
                Some(maker) if !good.contains(&maker) => {
                    let what = "its session's leader descends from itself".to_owned();
                    self.obstacles.push((at, what));
                    return;
                }
                _ => good.extend(line),
            }
        }
    }

    /// Makers come before those whom they make, once there are no circles.
    fn assign_groups(&mut self, tasks: &Tasks) {
        let mut known: HashMap<ProcessIndex, u32> = HashMap::new();
        for at in (0..tasks.processes.len()).map(ProcessIndex::from) {
            let mut line: Vec<_> = self
                .line(at)
                .take_while(|it| !known.contains_key(it))
                .collect();
            while let Some(next) = line.pop() {
                let group = self.group_of(tasks, next, &known);
                known.insert(next, group);
            }
        }
        let groups = (0..tasks.processes.len()).map(|at| known.get(&at.into()));
        self.groups = groups.map(|it| it.copied().unwrap_or(0)).collect();
    }

    fn group_of(&self, tasks: &Tasks, at: ProcessIndex, known: &HashMap<ProcessIndex, u32>) -> u32 {
        let process = &tasks.processes[at.at()];
        let pid = process.first_pid();
        if process.session == pid || process.group == pid {
            return pid;
        }
        let mut helpers = self.helpers.iter();
        if let Some(helper) = helpers.find(|it| it.leads && it.children.contains(&at)) {
            return helper.pid;
        }
        let mut maker = self.maker(at);
        if self.is_early(at) {
            // Its maker is still where it was born.
            maker = maker.and_then(|it| self.maker(it));
        }
        maker.and_then(|it| known.get(&it)).copied().unwrap_or(0)
    }

    /// The first process that lives in a group without a leader, and is not born into it, begins it for all.
    fn find_founders(&mut self, tasks: &Tasks) {
        let all = || tasks.processes.iter().enumerate();
        let leads = |process: &&Process| process.group == process.first_pid();
        let mut there: HashSet<u32> = tasks
            .processes
            .iter()
            .filter(leads)
            .map(Process::first_pid)
            .collect();
        let born = all().filter(|(at, process)| self.groups[*at] == process.group);
        there.extend(born.map(|(_, process)| process.group));
        let threads = tasks.processes.iter().flat_map(|it| &it.threads);
        let numbers: HashSet<u32> = threads.filter_map(|it| it.pids.first().copied()).collect();
        for (at, process) in all().filter(|(_, it)| !is_zombie(it)) {
            let group = process.group;
            if !there.insert(group) {
                continue;
            }
            let free = group != process.session && !numbers.contains(&group);
            if group == 0 || !free || process.pid_namespace.at() != 0 {
                self.no_group(at);
            }
            self.founders.insert(at.into(), group);
        }
        for (at, process) in all().filter(|(_, it)| is_zombie(it)) {
            // Only a parent of the same session can move it.
            let parent = process.parent.map(|it| tasks.processes[it.at()].session);
            let moved = self.groups[at] != process.group;
            if !there.contains(&process.group) || moved && parent != Some(process.session) {
                self.no_group(at);
            }
        }
    }

    fn no_group(&mut self, at: usize) {
        let what = "its process group has no leader in a way that cannot be restored yet";
        self.obstacles.push((at.into(), what.to_owned()));
    }
}

/// The search for makers.
struct Family<'a> {
    tasks: &'a Tasks,
    leaders: HashMap<u32, ProcessIndex>,
    numbers: BTreeSet<u32>,
    lineage: Lineage,
}

impl<'a> Family<'a> {
    fn new(tasks: &'a Tasks) -> Self {
        let processes = tasks.processes.iter().enumerate();
        let leaders = processes.map(|(at, process)| (process.first_pid(), at.into()));
        let threads = tasks.processes.iter().flat_map(|it| &it.threads);
        let mut numbers: BTreeSet<u32> =
            threads.filter_map(|it| it.pids.first().copied()).collect();
        numbers.extend(tasks.processes.iter().flat_map(|it| [it.session, it.group]));
        let makers = tasks.processes.iter().map(|process| process.parent);
        let lineage = Lineage {
            makers: makers.collect(),
            ..Lineage::default()
        };
        Self {
            tasks,
            leaders: leaders.collect(),
            numbers,
            lineage,
        }
    }

    fn get(&self, at: ProcessIndex) -> &'a Process {
        &self.tasks.processes[at.at()]
    }

    fn place(&mut self, at: ProcessIndex) {
        let process = self.get(at);
        let Some(parent) = process.parent else { return };
        let above = self.get(parent);
        if is_zombie(above) {
            return self.refuse(at, "its parent has ended");
        }
        let session = process.session;
        if session == process.first_pid() || session == above.session {
            return;
        }
        if above.session == above.first_pid() && session == self.session_before(parent) {
            self.lineage.early.insert(at);
            return;
        }
        let leader = self.leaders.get(&session).copied();
        match leader.filter(|it| !is_zombie(self.get(*it))) {
            _ if session == 0 => {
                self.refuse(at, "its session is one of outside, and its parent's is not")
            }
            Some(leader) => self.by_leader(at, parent, leader),
            None if leader.is_some() => self.refuse(
                at,
                "the leader of its session has ended, and is still there",
            ),
            None => self.by_helper(at, parent, session),
        }
    }

    fn refuse(&mut self, at: ProcessIndex, what: &str) {
        let what = format!("{what}, which cannot be restored yet");
        self.lineage.obstacles.push((at, what));
    }

    /// The session that a process is born into.
    fn session_before(&self, at: ProcessIndex) -> u32 {
        self.get(at).parent.map_or(0, |it| self.get(it).session)
    }

    /// The leader lives: a child of it makes the process.
    fn by_leader(&mut self, at: ProcessIndex, parent: ProcessIndex, leader: ProcessIndex) {
        if self.adopter(leader) != Some(parent) || self.get(leader).pid_namespace.at() != 0 {
            return self.refuse(
                at,
                "it was adopted by one who does not adopt for its session's leader",
            );
        }
        let pid = self.numbers.last().map_or(2, |last| last + 1);
        self.numbers.insert(pid);
        self.lineage.makers[at.at()] = Some(leader);
        self.lineage.helpers.push(Helper {
            maker: leader,
            pid,
            leads: false,
            children: vec![at],
        });
    }

    /// The leader is gone: a helper has its number, and makes all whose parents are not of the session.
    fn by_helper(&mut self, at: ProcessIndex, parent: ProcessIndex, session: u32) {
        let mut helpers = self.lineage.helpers.iter_mut();
        match helpers.find(|it| it.leads && it.pid == session) {
            Some(helper) if helper.maker == parent => return helper.children.push(at),
            Some(_) => {
                return self.refuse(
                    at,
                    "the leader of its session is gone, and others adopted the rest of it",
                );
            }
            None => {}
        }
        if self.adopter(parent) != Some(parent) || self.get(parent).pid_namespace.at() != 0 {
            return self.refuse(
                at,
                "the leader of its session is gone, and its parent adopts nobody",
            );
        }
        self.lineage.helpers.push(Helper {
            maker: parent,
            pid: session,
            leads: true,
            children: vec![at],
        });
    }

    /// Who adopts the children of a child of this process, when that ends.
    fn adopter(&self, of: ProcessIndex) -> Option<ProcessIndex> {
        let mut line = std::iter::successors(Some(of), |it| self.get(*it).parent);
        line.find(|it| {
            let process = self.get(*it);
            let own = self.tasks.pid_namespaces[process.pid_namespace.at()].own;
            process.subreaper || own && process.own_pid() == 1
        })
    }
}

pub(super) fn is_zombie(process: &Process) -> bool {
    matches!(process.state, ProcessState::Zombie(_))
}
