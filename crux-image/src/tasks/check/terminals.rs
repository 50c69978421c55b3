//! Terminals, those whom they control, and names of what comes from outside.
//!
//! Kind: pure.

use super::files::{grant_name, location};
use super::{TasksError, TasksPlace, TasksRule, in_range, value};
use crate::mounts::{Mounts, Origin, OwnFsType};
use crate::tasks::{
    ControllingTerminal, OpenTarget, ProcessState, Tasks, Terminal, TerminalFile, TerminalIndex,
};
use std::collections::HashSet;

/// `sizeof(struct termios2)`.
const SETTINGS: usize = 44;
/// `NR_UNIX98_PTY_MAX`: minor numbers of ptys.
const NUMBER_LIMIT: u64 = 1 << 20;

pub(super) fn check(tasks: &Tasks, mounts: &Mounts) -> Result<(), TasksError> {
    names(tasks, mounts)?;
    let mut known = HashSet::new();
    let masters = tasks.files.iter().filter_map(|file| match &file.target {
        OpenTarget::Terminal(index, TerminalFile::Master) => Some(*index),
        _ => None,
    });
    let masters: HashSet<TerminalIndex> = masters.collect();
    for (at, terminal) in tasks.terminals.iter().enumerate() {
        let place = TasksPlace::Terminal(at);
        let own = check_terminal(mounts, terminal).map_err(|rule| rule.at(place))?;
        let home = terminal.place.as_ref();
        let origin =
            home.map(|it| mounts.namespaces[it.namespace.at()].mounts[it.mount.at()].origin);
        // The minor number of a master outside, and of nobody's slave, says nothing.
        if own && !known.insert((origin, terminal.number))
            || !own && origin.is_some() && !known.insert((origin, 0))
        {
            return Err(TasksRule::TerminalTwice.at(place));
        }
        if !own && masters.contains(&at.into()) {
            return Err(TasksRule::TerminalPlace.at(place));
        }
    }
    let (mut leaders, mut terminals) = (HashSet::new(), HashSet::new());
    for (at, session) in tasks.controlling.iter().enumerate() {
        let place = TasksPlace::Session(at);
        check_session(tasks, session).map_err(|rule| rule.at(place))?;
        if !leaders.insert(session.leader) || !terminals.insert(session.terminal) {
            return Err(TasksRule::TerminalTwice.at(place));
        }
    }
    Ok(())
}

/// Whether it is in a devpts of the container's own.
fn check_terminal(mounts: &Mounts, terminal: &Terminal) -> Result<bool, TasksRule> {
    if terminal.settings.len() != SETTINGS {
        return Err(TasksRule::Length("the settings of a terminal"));
    }
    value("number of a terminal", terminal.number.into(), NUMBER_LIMIT)?;
    value("mode of a terminal", terminal.mode.into(), 0o7777)?;
    let Some(place) = &terminal.place else {
        return Ok(false);
    };
    location(mounts, place)?;
    let mount = &mounts.namespaces[place.namespace.at()].mounts[place.mount.at()];
    match &mounts.origins[mount.origin.at()] {
        Origin::Own(own) if own.fs_type == OwnFsType::Devpts => Ok(true),
        Origin::External(external) if external.kind.is_pty_slave() => Ok(false),
        _ => Err(TasksRule::TerminalPlace),
    }
}

fn check_session(tasks: &Tasks, session: &ControllingTerminal) -> Result<(), TasksRule> {
    in_range("terminal", session.terminal.at(), tasks.terminals.len())?;
    in_range("process", session.leader.at(), tasks.processes.len())?;
    let leader = &tasks.processes[session.leader.at()];
    let lives = !matches!(leader.state, ProcessState::Zombie(_));
    match lives && leader.session == leader.first_pid() {
        true => Ok(()),
        false => Err(TasksRule::TerminalLeader),
    }
}

/// A grant names one thing. A terminal may be one that a mount shows.
fn names(tasks: &Tasks, mounts: &Mounts) -> Result<(), TasksError> {
    let origins = mounts.origins.iter().filter_map(|origin| match origin {
        Origin::External(external) => Some(external),
        Origin::Own(_) => None,
    });
    let mut taken: HashSet<&str> = origins
        .clone()
        .filter(|external| !external.kind.is_pty_slave())
        .map(|external| external.name.as_str())
        .collect();
    for (at, terminal) in tasks.terminals.iter().enumerate() {
        let place = TasksPlace::Terminal(at);
        grant_name(&terminal.name).map_err(|rule| rule.at(place))?;
        if !taken.insert(&terminal.name) {
            return Err(TasksRule::NameTwice(terminal.name.clone()).at(place));
        }
    }
    taken.extend(origins.map(|external| external.name.as_str()));
    for (at, file) in tasks.files.iter().enumerate() {
        if let OpenTarget::External { name, .. } = &file.target
            && !taken.insert(name)
        {
            return Err(TasksRule::NameTwice(name.clone()).at(TasksPlace::File(at)));
        }
    }
    Ok(())
}
