//! Process trees of random histories, made again by their scripts on a model of the kernel's rules.
//!
//! The model knows numbers, parents, sessions, groups and adoption; scripts run on it in a random order.

use super::tests::{machine, mounts, process, record};
use super::*;
use crate::tasks::plan::{FINISHED, TOGETHER};
use crux_image::tasks::{DescriptorTableIndex, FsContext, FsIndex, SpaceIndex};
use crux_script::{Argument, Line, ScriptId};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    parent: u32,
    session: u32,
    group: u32,
    subreaper: bool,
    ended: bool,
}

/// Tasks by number.
#[derive(Debug, Clone, Default)]
struct World(BTreeMap<u32, Task>);

type Errno = &'static str;

impl World {
    /// The init of a pid namespace, in a session of outside.
    fn new() -> Self {
        let init = Task {
            parent: 0,
            session: 0,
            group: 0,
            subreaper: false,
            ended: false,
        };
        Self(BTreeMap::from([(1, init)]))
    }

    fn living(&self, pid: u32) -> Result<&Task, Errno> {
        self.0.get(&pid).filter(|it| !it.ended).ok_or("ESRCH")
    }

    fn is_taken(&self, number: u32) -> bool {
        let mut all = self.0.iter();
        all.any(|(pid, it)| [*pid, it.session, it.group].contains(&number))
    }

    fn fork(&mut self, parent: u32, pid: u32) -> Result<(), Errno> {
        if self.is_taken(pid) {
            return Err("EEXIST");
        }
        let child = Task {
            parent,
            subreaper: false,
            ..self.living(parent)?.clone()
        };
        self.0.insert(pid, child);
        Ok(())
    }

    fn setsid(&mut self, pid: u32) -> Result<(), Errno> {
        self.living(pid)?;
        if self.0.values().any(|it| it.group == pid) {
            return Err("EPERM");
        }
        let task = self.0.get_mut(&pid).ok_or("ESRCH")?;
        (task.session, task.group) = (pid, pid);
        Ok(())
    }

    fn setpgid(&mut self, caller: u32, who: u32, group: u32) -> Result<(), Errno> {
        let session = self.living(caller)?.session;
        let task = self.0.get(&who).ok_or("ESRCH")?;
        if who != caller && task.parent != caller {
            return Err("ESRCH");
        }
        let there = |it: &Task| it.group == group && it.session == session;
        let joins = group == who || self.0.values().any(there);
        if task.session != session || task.session == who || !joins {
            return Err("EPERM");
        }
        self.0.get_mut(&who).ok_or("ESRCH")?.group = group;
        Ok(())
    }

    fn exit(&mut self, pid: u32) -> Result<(), Errno> {
        if pid == 1 {
            return Err("the end of all");
        }
        self.living(pid)?;
        let mut reaper = self.0[&pid].parent;
        while reaper != 1 && (self.0[&reaper].ended || !self.0[&reaper].subreaper) {
            reaper = self.0[&reaper].parent;
        }
        for task in self.0.values_mut().filter(|it| it.parent == pid) {
            task.parent = reaper;
        }
        self.0.get_mut(&pid).ok_or("ESRCH")?.ended = true;
        Ok(())
    }

    fn reap(&mut self, parent: u32, pid: u32) -> Result<(), Errno> {
        let child = self.0.get(&pid).ok_or("ECHILD")?;
        if child.parent != parent || !child.ended {
            return Err("ECHILD");
        }
        self.0.remove(&pid);
        Ok(())
    }
}

/// Scripts that run on the model.
struct Run<'a> {
    plan: &'a TaskPlan,
    world: World,
    at: BTreeMap<u32, (ScriptId, usize)>,
}

enum Step {
    Done,
    Waits,
}

impl Run<'_> {
    /// `order` picks who goes on.
    fn run(mut self, order: &[usize]) -> World {
        let mut picks = order.iter().cycle();
        loop {
            let pids: Vec<u32> = self.at.keys().copied().collect();
            let from = picks.next().copied().unwrap_or(0) % pids.len().max(1);
            let mut turns = pids[from..].iter().chain(&pids[..from]);
            if turns.any(|pid| matches!(self.step(*pid), Step::Done)) {
                continue;
            }
            match self.open_barrier() {
                true => continue,
                false => break,
            }
        }
        for (pid, (script, line)) in &self.at {
            let lines = &self.plan.arena.scripts()[script.0 as usize].lines;
            assert_eq!(lines[*line], Line::Stop(FINISHED), "{pid} hangs");
        }
        self.world
    }

    fn line(&self, pid: u32) -> Line {
        let (script, line) = self.at[&pid];
        self.plan.arena.scripts()[script.0 as usize].lines[line].clone()
    }

    fn open_barrier(&mut self) -> bool {
        let waits = |it: &u32| self.line(*it) == Line::Stop(TOGETHER);
        let there: Vec<u32> = self.at.keys().copied().filter(waits).collect();
        let scripts = self.plan.arena.scripts().iter();
        let wanted = scripts.filter(|it| it.lines.contains(&Line::Stop(TOGETHER)));
        let open = !there.is_empty() && there.len() == wanted.count();
        for pid in there.into_iter().filter(|_| open) {
            self.next(pid);
        }
        open
    }

    fn next(&mut self, pid: u32) {
        if let Some((_, line)) = self.at.get_mut(&pid) {
            *line += 1;
        }
    }

    fn step(&mut self, pid: u32) -> Step {
        let Line::Call(call) = self.line(pid) else {
            return Step::Waits;
        };
        let value = |at: usize| match call.arguments[at] {
            Argument::Literal(value) => value as u32,
            _ => 0,
        };
        let who = |it: u32| if it == 0 { pid } else { it };
        let done = match i64::from(call.number) {
            libc::SYS_clone3 => self.clone3(pid, &call),
            libc::SYS_setsid => self.world.setsid(pid),
            libc::SYS_setpgid => {
                let who = who(value(0));
                let group = if value(1) == 0 { who } else { value(1) };
                self.world.setpgid(pid, who, group)
            }
            libc::SYS_prctl if value(0) == libc::PR_SET_CHILD_SUBREAPER as u32 => {
                self.world.0.get_mut(&pid).unwrap().subreaper = true;
                Ok(())
            }
            libc::SYS_exit_group => {
                self.at.remove(&pid);
                self.world.exit(pid)
            }
            libc::SYS_waitid => {
                let child = self.world.0.get(&value(1)).expect("a child to wait for");
                assert_eq!(child.parent, pid, "{pid} waits for another's child");
                match (child.ended, value(3) & libc::WNOWAIT as u32) {
                    (false, _) => return Step::Waits,
                    (true, 0) => self.world.reap(pid, value(1)),
                    (true, _) => Ok(()),
                }
            }
            _ => Ok(()),
        };
        done.unwrap_or_else(|errno| panic!("{pid}: {call:?}: {errno}\n{:#?}", self.world));
        self.next(pid);
        Step::Done
    }

    fn clone3(&mut self, parent: u32, call: &Call) -> Result<(), Errno> {
        let Argument::Data(place) = call.arguments[0] else {
            panic!("clone3 without arguments");
        };
        let block = |id: BlockId| &self.plan.arena.blocks()[id.0 as usize];
        let arguments = block(place.block);
        let ids = arguments.pointers[0].to;
        let id = block(ids.block).bytes[ids.offset as usize..][..4].try_into();
        let pid = u32::from_le_bytes(id.unwrap());
        self.at.insert(pid, (call.child.unwrap(), 0));
        self.world.fork(parent, pid)
    }
}

/// What a process may do.
#[derive(Debug, Clone)]
enum Deed {
    Fork(usize),
    Setsid(usize),
    Lead(usize),
    Join(usize, usize),
    Exit(usize),
    Reap(usize),
    Adopt(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || 0..40_usize;
    prop_oneof![
        5 => who().prop_map(Deed::Fork),
        2 => who().prop_map(Deed::Setsid),
        1 => who().prop_map(Deed::Lead),
        1 => (who(), who()).prop_map(|(who, other)| Deed::Join(who, other)),
        2 => who().prop_map(Deed::Exit),
        2 => who().prop_map(Deed::Reap),
        1 => who().prop_map(Deed::Adopt),
    ]
}

/// What is left after these deeds. Those that the kernel refuses are not done.
fn history(deeds: &[Deed]) -> World {
    let mut world = World::new();
    world.setsid(1).unwrap();
    let mut next = 2;
    for deed in deeds {
        let pids: Vec<u32> = world.0.keys().copied().collect();
        let pick = |at: usize| pids[at % pids.len()];
        let _refused_ones_are_not_done = match deed {
            Deed::Fork(who) => {
                next += 1;
                world.fork(pick(*who), next)
            }
            Deed::Setsid(who) => world.setsid(pick(*who)),
            Deed::Lead(who) => world.setpgid(pick(*who), pick(*who), pick(*who)),
            Deed::Join(who, other) => {
                let group = world.0[&pick(*other)].group;
                world.setpgid(pick(*who), pick(*who), group)
            }
            Deed::Exit(who) => world.exit(pick(*who)),
            Deed::Reap(who) => world.reap(world.0[&pick(*who)].parent, pick(*who)),
            Deed::Adopt(who) => {
                let task = world.0.get_mut(&pick(*who)).unwrap();
                task.subreaper |= !task.ended;
                Ok(())
            }
        };
    }
    world
}

fn tasks_of(world: &World) -> Tasks {
    let mut tasks = record();
    let pids: Vec<u32> = world.0.keys().copied().collect();
    let (space, table) = (tasks.spaces[0].clone(), tasks.descriptor_tables[0].clone());
    tasks.spaces = vec![space; pids.len()];
    tasks.descriptor_tables = vec![table; pids.len()];
    let contexts = (0..pids.len()).map(|at| FsContext {
        first: ProcessIndex::from(at),
        ..tasks.fs[0].clone()
    });
    tasks.fs = contexts.collect();
    let numbered = pids.iter().enumerate();
    tasks.processes = numbered
        .map(|(at, pid)| {
            let it = &world.0[pid];
            let parent = pids.iter().position(|pid| *pid == it.parent);
            let mut process = process(parent.map(|it| it as u32), *pid, at as u32);
            process.descriptors = Some(DescriptorTableIndex::from(at));
            process.space = Some(SpaceIndex::from(at));
            process.fs = Some(FsIndex::from(at));
            (process.session, process.group) = (it.session, it.group);
            process.subreaper = it.subreaper;
            if it.ended {
                process.state = ProcessState::Zombie(0);
                (process.space, process.descriptors) = (None, None);
                (process.fs, process.mount_namespace) = (None, None);
                process.subreaper = false;
            }
            process
        })
        .collect();
    tasks
}

/// The record made again, or what is in the way.
fn again(world: &World, order: &[usize]) -> Result<World, Vec<Obstacle>> {
    let tasks = tasks_of(world);
    let plan = compile(&tasks, &mounts(), &machine())?;
    let at = BTreeMap::from([(1, (plan.birth.script, 0))]);
    let (plan, world) = (&plan, World::new());
    Ok(Run { plan, world, at }.run(order))
}

/// Zombies adopt nobody.
fn comparable(mut world: World) -> BTreeMap<u32, Task> {
    for task in world.0.values_mut() {
        task.subreaper &= !task.ended;
    }
    world.0
}

#[track_caller]
fn comes_back(deeds: &[Deed]) {
    let world = history(deeds);
    for order in [[0, 0, 0], [1, 2, 3], [7, 5, 3]] {
        let made = again(&world, &order).unwrap();
        assert_eq!(comparable(made), comparable(world.clone()));
    }
}

use Deed::*;

#[test]
fn daemons_whose_sessions_leader_is_gone_come_back() {
    // 3 begins a session, forks 4 and 5 and goes; 4 has a child in a group of its own.
    comes_back(&[
        Fork(0),
        Setsid(1),
        Fork(1),
        Fork(1),
        Exit(1),
        Reap(1),
        Fork(1),
        Lead(3),
    ]);
}

#[test]
fn an_orphan_of_a_living_sessions_leader_comes_back() {
    // 3 leads a session; its child 4 has a child 5, and goes.
    comes_back(&[Fork(0), Setsid(1), Fork(1), Fork(2), Exit(2), Reap(2)]);
}

#[test]
fn a_child_older_than_its_parents_session_comes_back() {
    comes_back(&[Fork(0), Fork(1), Setsid(1), Fork(1)]);
}

#[test]
fn a_group_without_a_leader_comes_back() {
    // 4 leads a group that 5 joins, and goes.
    comes_back(&[
        Fork(0),
        Fork(1),
        Fork(1),
        Lead(2),
        Join(3, 2),
        Exit(2),
        Reap(2),
    ]);
}

#[test]
fn one_that_has_ended_is_in_its_group() {
    // 4 leads a group, 5 joins it and ends.
    comes_back(&[Fork(0), Fork(1), Fork(1), Lead(2), Join(3, 2), Exit(3)]);
}

#[test]
fn children_are_adopted_by_a_subreaper() {
    // 3 adopts; its child 4 leads a session, forks 5 and goes.
    comes_back(&[
        Fork(0),
        Adopt(1),
        Fork(1),
        Setsid(2),
        Fork(2),
        Exit(2),
        Reap(2),
    ]);
}

proptest! {
    #[test]
    fn trees_come_back_or_are_refused(
        deeds in proptest::collection::vec(deed(), 0..40),
        order in proptest::collection::vec(0..40_usize, 1..20),
    ) {
        let world = history(&deeds);
        if let Ok(made) = again(&world, &order) {
            prop_assert_eq!(comparable(made), comparable(world));
        }
    }

    /// Records may say what no history can have brought about.
    #[test]
    fn nonsense_ends_too(
        sessions in proptest::collection::vec((0..9_u32, 0..9_u32, any::<bool>()), 1..8),
    ) {
        let mut tasks = tasks_of(&history(&vec![Fork(0); sessions.len()]));
        for (process, (session, group, subreaper)) in tasks.processes.iter_mut().zip(&sessions) {
            (process.session, process.group) = (*session, *group);
            process.subreaper = *subreaper;
        }
        if let Ok(plan) = compile(&tasks, &mounts(), &machine()) {
            prop_assert!(plan.arena.check(crux_script::Purpose::Restore, plan.base).is_ok());
        }
    }
}
