//! Collecting: what the judge needs to know, read from the live system.
//!
//! Kind: effect. It decides nothing about a container. Every descriptor is opened
//! once; the tables are read again at the end, and it all begins anew if they changed.

mod beyond;
mod capabilities;
mod contents;
mod error;
mod inside;
mod machine;
mod peel;
mod process;
mod roots;
mod users;
mod watch;
mod wishes;

pub use capabilities::check as check_capabilities;
pub use contents::collect as collect_contents;
pub use error::DumpError;
pub use peel::PeelError;
pub use process::Process;
pub use wishes::check as check_wishes;

use crate::judge::{ForeignTable, NamespaceId, Seen, SeenNamespace};
use crux_mount::features::Features;
use crux_mount::ids::MountId;
use crux_mount::mountinfo::Entry;
use crux_mount::observe::{self, Hidden, ObserveError, ObservedNamespace, Reading};
use crux_mount::sys::NamespaceKind;
use machine::Machine;
use roots::Roots;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use users::Users;
use watch::Watch;

/// What was collected of a container.
#[derive(Debug)]
pub struct Collected {
    /// For the judge.
    pub seen: Seen,
    /// One process of each mount namespace, in the order of [`Seen::container`].
    pub processes: Vec<Process>,
    readings: Vec<Reading>,
    roots: Vec<Roots>,
    watches: Vec<Watch>,
}

/// Collects what is to be known of the process and its descendants.
pub fn collect(pid: u32, features: &Features) -> Result<Collected, DumpError> {
    let own = Process::open(std::process::id())?;
    let first = Process::open(pid)?;
    if first.mount_id == own.mount_id {
        return Err(DumpError::SameNamespace(pid));
    }
    let machine = Machine::scan()?;
    let processes = container(first, &own, &machine)?;
    let mut seen = Seen {
        host: observe(&own, features)?.entries,
        host_net: own.net,
        host_ipc: own.ipc,
        ..Seen::default()
    };
    let mut users = Users::new(&own)?;
    let mut readings = Vec::with_capacity(processes.len());
    let mut roots = Vec::with_capacity(processes.len());
    let mut watches = Vec::with_capacity(processes.len());
    for process in &processes {
        watches.push(Watch::begin(process)?);
        let (reading, space) = begin(process, features)?;
        readings.push(reading);
        let owner = users.owner(process, &processes)?;
        let unreached = unreached(process, &space)?;
        let (place, root) = (space.root.place, space.root.mount);
        let mut table = with_idmaps(space);
        if place == observe::RootPlace::Directory {
            let pid = process.pid;
            let first = beyond::chrooted(process, root);
            let first = first.map_err(|error| DumpError::Beyond { pid, error })?;
            table.splice(..0, first);
        }
        let found = roots::look(process, &table)?;
        seen.roots.extend(&found.facts);
        seen.unlooked.extend(found.failures.iter().cloned());
        roots.push(found);
        let (net, ipc) = (process.net, process.ipc);
        let pid = process.pid;
        seen.container.push(SeenNamespace {
            pid,
            table,
            root,
            unreached,
            owner,
            net,
            ipc,
        });
    }
    seen.user_namespaces = users.into_records();
    let known = processes
        .iter()
        .map(|p| p.mount_id)
        .chain([own.mount_id])
        .collect();
    seen.foreign = foreign(&machine, &known);
    Ok(Collected {
        seen,
        processes,
        readings,
        roots,
        watches,
    })
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

fn observe(process: &Process, features: &Features) -> Result<ObservedNamespace, DumpError> {
    observe::observe_process(process.directory(), features)
        .map_err(|error| failed(process.pid, error))
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

fn with_idmaps(space: ObservedNamespace) -> Vec<Entry> {
    let mut table = space.entries;
    for entry in table.iter_mut().filter(|entry| entry.idmapped) {
        entry.attributes.idmap = space.idmaps.get(&entry.id).cloned();
    }
    table
}

/// How many mounts the table leaves out. Those that the root directory is stacked on do not count: its tasks
/// cannot get there, and neither could they before.
fn unreached(process: &Process, space: &ObservedNamespace) -> Result<usize, DumpError> {
    let pid = process.pid;
    let mut parents: HashMap<MountId, MountId> = match &space.hidden {
        Hidden::Known(hidden) => hidden.iter().map(|m| (m.id, m.parent)).collect(),
        Hidden::Buried(_) => return Ok(0),
        Hidden::Unknown => beyond::beyond(process, &space.entries)
            .map_err(|error| DumpError::Beyond { pid, error })?
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
fn foreign(machine: &Machine, known: &HashSet<NamespaceId>) -> Vec<ForeignTable> {
    let read = |pid: u32| {
        let process = Process::open(pid).ok()?;
        let table = observe::observe_process(process.directory().as_fd(), &Features::default());
        Some(ForeignTable {
            pid,
            table: table.ok()?.entries,
        })
    };
    machine.others(known).into_iter().filter_map(read).collect()
}

/// The identity of one of a process's namespaces.
fn namespace_of(process: &Process, kind: NamespaceKind) -> Result<NamespaceId, DumpError> {
    let pid = process.pid;
    process::namespace(process.directory(), kind).map_err(|error| DumpError::Process { pid, error })
}
