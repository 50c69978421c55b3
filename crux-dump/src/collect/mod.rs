//! Collecting: what the judge needs to know, read from the live system.
//!
//! Kind: effect. It decides nothing about a container. Every descriptor is opened
//! once; the tables are read again at the end, and it all begins anew if they changed.

mod beyond;
pub mod capabilities;
pub(crate) mod cgroups;
mod contents;
mod copy;
mod error;
mod inside;
pub(crate) mod ipc;
mod locks;
mod machine;
mod networks;
mod peel;
mod process;
mod queues;
mod roots;
mod users;
mod watch;
mod wishes;

pub(crate) use contents::{Recorded, collect as collect_contents};
pub use error::DumpError;
pub(crate) use error::stands_in_the_way;
pub(crate) use networks::settings_of_new;
pub use peel::PeelError;
pub use process::Process;
pub(crate) use wishes::unfulfilled as check_wishes;

use crate::judge::{NamespaceId, RootFact, SeenNamespace};
use crate::network::Values;
use crate::roles::message::{Facts, Space, Tables};
use crux_image::mounts::UserNsIndex;
use crux_image::tasks::NetSysctl;
use crux_mount::features::Features;
use crux_mount::ids::MountId;
use crux_mount::observe::{self, Hidden, ObserveError, ObservedNamespace, Reading, RootPlace};
use crux_mount::sys::NamespaceKind;
use inside::Home;
use machine::Machine;
use networks::Networks;
use roots::Roots;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use users::Users;
use watch::Watch;

/// What was collected of a container.
#[derive(Debug)]
pub struct Collected {
    /// The container's mount namespaces; the first is that of the pid given.
    pub spaces: Vec<SeenNamespace>,
    /// One process of each, in the same order.
    processes: Vec<Process>,
    readings: Vec<Reading>,
    watches: Vec<Watch>,
    home: Home,
    networks: Networks,
    /// What [`Collected::look`] has found, in the same order.
    roots: Vec<Roots>,
    facts: HashMap<MountId, RootFact>,
}

/// Whether tasks are dumped as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithTasks {
    /// They are: their user namespaces belong into the record.
    Yes,
    /// Mounts only.
    No,
}

/// Reads the tables of the process and its descendants, and of who is outside.
pub fn read(
    pid: u32,
    tasks: WithTasks,
    features: &Features,
) -> Result<(Collected, Tables), DumpError> {
    let own = Process::open(std::process::id())?;
    let first = Process::open(pid)?;
    if first.mount_id == own.mount_id {
        return Err(DumpError::SameNamespace(pid));
    }
    let machine = Machine::scan()?;
    let processes = container(first, &own, &machine)?;
    let host = observe::read_settled(own.directory(), features);
    let mut tables = Tables {
        pid,
        command: processes[0].command(),
        container: Vec::with_capacity(processes.len()),
        user_namespaces: Vec::new(),
        user_ids: Vec::new(),
        without_setgroups: Vec::new(),
        host: host.map_err(|error| failed(own.pid, error))?.table().into(),
        host_net: own.net,
        host_ipc: own.ipc,
        foreign: Vec::new(),
        networks: Vec::new(),
    };
    let mut networks = Networks::default();
    if tasks == WithTasks::Yes {
        (networks, tables.networks) = networks::of_tasks(&own, pid, &machine)?;
    }
    let mut users = Users::new(&own)?;
    if tasks == WithTasks::Yes {
        // The first: parents stand before their children.
        users.of_tasks(pid, &machine)?;
    }
    let known = processes.iter().map(|process| process.mount_id);
    let known = known.chain([own.mount_id]).collect();
    let mut collected = Collected {
        spaces: Vec::with_capacity(processes.len()),
        readings: Vec::with_capacity(processes.len()),
        watches: Vec::with_capacity(processes.len()),
        home: Home::new(own),
        networks,
        roots: Vec::new(),
        facts: HashMap::new(),
        processes,
    };
    for process in &collected.processes {
        collected.watches.push(Watch::begin(process)?);
        let (reading, space) = begin(process, features)?;
        let owner = users.owner(process, &collected.processes)?;
        let (space, seen) = sight(process, &collected.home, &reading, space, owner)?;
        collected.readings.push(reading);
        tables.container.push(space);
        collected.spaces.push(seen);
    }
    (
        tables.user_namespaces,
        tables.user_ids,
        tables.without_setgroups,
    ) = users.into_records();
    tables.foreign = foreign(&machine, &known);
    Ok((collected, tables))
}

/// One namespace, for the encoder and to go on with here.
fn sight(
    process: &Process,
    home: &Home,
    reading: &Reading,
    space: ObservedNamespace,
    owner: Option<UserNsIndex>,
) -> Result<(Space, SeenNamespace), DumpError> {
    let (pid, root, place) = (process.pid, space.root.mount, space.root.place);
    let unreached = unreached(process, home, &space)?;
    let chrooted = match place {
        RootPlace::MountRoot => None,
        RootPlace::Directory => beyond::chrooted(process, home, root)?,
    };
    let mut table = space.entries;
    table.splice(..0, chrooted.clone());
    let (net, ipc) = (process.net, process.ipc);
    let sent = Space {
        pid,
        table: reading.table().into(),
        chrooted,
        idmaps: space.idmaps,
        root,
        unreached: unreached as u64,
        owner,
        net,
        ipc,
    };
    let seen = SeenNamespace {
        pid,
        table,
        root,
        unreached,
        owner,
        net,
        ipc,
    };
    Ok((sent, seen))
}

impl Collected {
    /// Looks at the root of every mount.
    pub(crate) fn look(&mut self) -> Result<Facts, DumpError> {
        let mut facts = Facts::default();
        for (process, space) in self.processes.iter().zip(&self.spaces) {
            let found = roots::look(process, &self.home, &space.table)?;
            facts.roots.extend(&found.facts);
            facts.unlooked.extend(found.failures.iter().cloned());
            facts.queues.extend(found.queues.clone());
            self.roots.push(found);
            if space.owner.is_some() {
                facts
                    .locks
                    .extend(locks::probe(process, &self.home, &space.table)?);
            }
        }
        self.facts.clone_from(&facts.roots);
        Ok(facts)
    }

    /// The settings of each network namespace in the tables, given those of a new one.
    pub(crate) fn settings(&self, new: Option<&Values>) -> Result<Vec<Vec<NetSysctl>>, DumpError> {
        let pid = self.spaces.first().map_or(0, |first| first.pid);
        let settings = self.networks.settings(new);
        settings.map_err(|error| DumpError::Process { pid, error })
    }
}

/// Whether the tables are still those that were collected.
pub fn is_unchanged(collected: &Collected, features: &Features) -> Result<bool, DumpError> {
    for watch in &collected.watches {
        if watch.has_changed()? {
            return Ok(false);
        }
    }
    for (process, before) in collected.processes.iter().zip(&collected.readings) {
        let now = Reading::of(process.directory(), features);
        if now.map_err(|error| failed(process.pid, error))? != *before {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One process for each mount namespace of the container, the first one's first.
fn container(first: Process, own: &Process, machine: &Machine) -> Result<Vec<Process>, DumpError> {
    let mut known: HashSet<NamespaceId> = HashSet::from([first.mount_id, own.mount_id]);
    let descendants = machine.descendants(first.pid, &known)?;
    let mut processes = vec![first];
    for (pid, id) in descendants {
        if known.contains(&id) {
            continue;
        }
        match Process::open(pid) {
            Ok(process) if known.insert(process.mount_id) => processes.push(process),
            Ok(_) => {}
            // One that has gone meanwhile has left its namespace to others, or to nobody.
            Err(DumpError::NoProcess(_) | DumpError::Zombie(_)) => {}
            // Leaving any other out would lose its namespace in silence.
            Err(error) => return Err(error),
        }
    }
    Ok(processes)
}

/// What [`is_unchanged`] compares with is read once: a table that was half of a change is not there again.
fn begin(
    process: &Process,
    features: &Features,
) -> Result<(Reading, ObservedNamespace), DumpError> {
    observe::begin_to_observe(process.directory(), features)
        .map_err(|error| failed(process.pid, error))
}

fn failed(pid: u32, error: ObserveError) -> DumpError {
    match error {
        ObserveError::Changing => DumpError::Changing(pid),
        error => DumpError::Observe { pid, error },
    }
}

/// How many mounts the table leaves out. Those that the root directory is stacked on do not count: its tasks
/// cannot get there, and neither could they before.
fn unreached(
    process: &Process,
    home: &Home,
    space: &ObservedNamespace,
) -> Result<usize, DumpError> {
    let mut parents: HashMap<MountId, MountId> = match &space.hidden {
        Hidden::Known(hidden) => hidden.iter().map(|m| (m.id, m.parent)).collect(),
        Hidden::Buried(_) => return Ok(0),
        Hidden::Unknown if beyond::is_top(process)? => return Ok(0),
        Hidden::Unknown => beyond::beyond(process, home, &space.entries)?
            .into_iter()
            .collect(),
    };
    let known: HashSet<MountId> = space.entries.iter().map(|entry| entry.id).collect();
    let top = space
        .entries
        .iter()
        .find(|entry| !known.contains(&entry.parent) || entry.parent == entry.id);
    let mut here = top.map(|entry| entry.parent);
    while let Some(beneath) = here {
        here = parents.remove(&beneath);
    }
    Ok(parents.len())
}

/// Tables of all other mount namespaces, as far as they can be read.
fn foreign(machine: &Machine, known: &HashSet<NamespaceId>) -> Vec<(u32, Vec<u8>)> {
    let read = |pid: u32| {
        let process = Process::open(pid).ok()?;
        let reading = observe::read_settled(process.directory().as_fd(), &Features::default());
        Some((pid, reading.ok()?.table().into()))
    };
    machine.others(known).into_iter().filter_map(read).collect()
}

/// The identity of one of a process's namespaces.
fn namespace_of(process: &Process, kind: NamespaceKind) -> Result<NamespaceId, DumpError> {
    let pid = process.pid;
    process::namespace(process.directory(), kind).map_err(|error| DumpError::Process { pid, error })
}
