//! Which network namespaces a container has of its own.
//!
//! Kind: effect. What is in them is `crate::network`'s to find out. Settings are thousands of files: those of a new
//! namespace are read while tasks still run, those of the container while the tracer captures.

use super::capabilities;
use super::machine::Machine;
use super::process::Process;
use super::{DumpError, process};
use crate::network::{self, SeenNetwork, Values, Visit};
use crux_image::tasks::NetSysctl;
use crux_mount::sys::{NamespaceKind, SysError};
use std::collections::HashSet;
use std::os::fd::OwnedFd;

/// How the settings of a new namespace are, where the process given is not in the caller's own. What goes wrong is said
/// when they are asked for.
pub(crate) fn settings_of_new(pid: u32) -> Option<Values> {
    let own = Process::open(std::process::id()).ok()?;
    let net = process::namespace(Process::open(pid).ok()?.directory(), NamespaceKind::Net).ok()?;
    match net == own.net {
        true => None,
        false => network::settings_of_new(&open(&own).ok()?).ok(),
    }
}

/// The network namespaces of a container.
#[derive(Debug, Default)]
pub(super) struct Networks {
    visits: Vec<Visit>,
    /// The collector's own; there where there are others.
    home: Option<OwnedFd>,
}

impl Networks {
    /// The settings of each, in the order in which they were found.
    pub(super) fn settings(&self, new: Option<&Values>) -> Result<Vec<Vec<NetSysctl>>, SysError> {
        let Some(home) = &self.home else {
            return Ok(Vec::new());
        };
        match new {
            Some(new) => network::settings(home, &self.visits, new),
            None => network::settings(home, &self.visits, &network::settings_of_new(home)?),
        }
    }
}

/// Those of a process and its descendants, and what is in them but for settings.
pub(super) fn of_tasks(
    own: &Process,
    pid: u32,
    machine: &Machine,
) -> Result<(Networks, Vec<SeenNetwork>), DumpError> {
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
        return Ok(Default::default());
    }
    let home = open(own)?;
    let seen = network::look(&home, &visits);
    let seen = seen.map_err(|error| DumpError::Process { pid, error })?;
    let networks = Networks {
        visits,
        home: Some(home),
    };
    Ok((networks, seen))
}

fn open(process: &Process) -> Result<OwnedFd, DumpError> {
    let pid = process.pid;
    let found = process::open_namespace(process, NamespaceKind::Net);
    found.map_err(|error| DumpError::Process { pid, error })
}
