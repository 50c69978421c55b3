//! Which network namespaces a container has of its own.
//!
//! Kind: effect. What is in them is `crate::network`'s to find out.

use super::capabilities;
use super::machine::Machine;
use super::process::Process;
use super::{DumpError, process};
use crate::network::{self, SeenNetwork, Visit};
use crux_mount::sys::NamespaceKind;
use std::collections::HashSet;

/// Those of a process and its descendants, and what is in them.
pub(super) fn of_tasks(
    own: &Process,
    pid: u32,
    machine: &Machine,
) -> Result<Vec<SeenNetwork>, DumpError> {
    let mut known = HashSet::from([own.net]);
    let mut visits = Vec::new();
    let descendants = machine.descendants(pid, &HashSet::new())?;
    let pids = descendants.into_iter().map(|(pid, _)| pid);
    for pid in std::iter::once(pid).chain(pids) {
        let process = match Process::open(pid) {
            Ok(process) => process,
            // Zombies are in none.
            Err(DumpError::NoProcess(_) | DumpError::Zombie(_)) => continue,
            Err(error) => return Err(error),
        };
        if !known.insert(process.net) {
            continue;
        }
        capabilities::check_networks()?;
        visits.push(Visit {
            id: process.net,
            namespace: open(&process)?,
        });
    }
    if visits.is_empty() {
        return Ok(Vec::new());
    }
    let home = open(own)?;
    network::look(&home, &visits).map_err(|error| DumpError::Process { pid, error })
}

fn open(process: &Process) -> Result<std::os::fd::OwnedFd, DumpError> {
    let pid = process.pid;
    let found = process::open_namespace(process, NamespaceKind::Net);
    found.map_err(|error| DumpError::Process { pid, error })
}
