//! Names of what comes from outside the container, and numbers by which people name it.
//!
//! Kind: effect where numbers are read; names are pure. A declared name comes first; the streams of the first
//! process have names of their own; everything else is named after a descriptor that leads to it.

use super::{Collector, Seen, nothing, sockets};
use crate::judge::{Policy, Undeclared};
use crate::tasks::proc_text::{Status, odd, read};
use crate::tasks::{Target, TaskCause};
use crux_image::mounts::FileKind;
use crux_image::tasks::OpenTarget;
use crux_mount::sys::SysError;
use std::collections::{HashMap, HashSet};

/// 0, 1 and 2.
const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];

/// Which of the numbers of a process (`NSpid`) the container knows: those before are for the outside.
pub(super) fn depth(targets: &[Target]) -> Result<usize, SysError> {
    let first = targets.first().map(numbers).transpose()?;
    Ok(first.map_or(0, |numbers| numbers.len().saturating_sub(1)))
}

/// Its numbers, from the outermost pid namespace that the dumper sees.
pub(super) fn numbers(target: &Target) -> Result<Vec<u32>, SysError> {
    let status = Status::parse(&read(&target.directory, "status")?);
    status.numbers("NSpid").ok_or_else(|| odd("status"))
}

/// The names that were given.
#[derive(Debug)]
pub(super) struct Names<'a> {
    policy: &'a Policy,
    taken: HashSet<String>,
}

/// A descriptor, as the container numbers its process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    /// The process.
    pub(super) pid: u32,
    /// Whether it is the first.
    pub(super) first: bool,
    /// The descriptor.
    pub(super) number: u32,
}

impl<'a> Names<'a> {
    /// None yet, but those of mounts.
    pub(super) fn new(policy: &'a Policy) -> Self {
        let mounts = policy.declared.iter().map(|it| it.name.clone());
        Self {
            policy,
            taken: mounts.collect(),
        }
    }

    /// The name that was declared for a descriptor.
    pub(super) fn declared(&self, holder: Holder) -> Option<String> {
        let mut all = self.policy.descriptors.iter();
        let found = all.find(|it| (it.pid, it.number) == (holder.pid, holder.number));
        found.map(|it| it.name.clone())
    }

    /// The name of what a descriptor leads to; or else the declaration that is missing.
    pub(super) fn name(&mut self, holder: Holder) -> Result<String, String> {
        let place = format!("fd:{}:{}", holder.pid, holder.number);
        let stream = STREAMS.get(holder.number as usize).filter(|_| holder.first);
        let auto = self.policy.undeclared == Undeclared::NameAfterMountpoint;
        match (self.declared(holder), stream) {
            (Some(name), _) => Ok(name),
            (None, Some(stream)) => Ok(self.free(stream)),
            (None, None) if auto => Ok(self.free(&place)),
            (None, None) => Err(format!("{place}={place}")),
        }
    }

    /// A name that nothing else has.
    pub(super) fn free(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        let declared = |name: &str| self.policy.descriptors.iter().any(|it| it.name == name);
        while declared(&name) || !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}#{number}");
        }
        name
    }
}

/// How the container names a descriptor.
pub(super) fn holder(holders: &HashMap<u32, (u32, bool)>, target: &Target, number: u32) -> Holder {
    let (pid, first) = holders.get(&target.pid).copied().unwrap_or_default();
    Holder { pid, first, number }
}

impl Collector<'_> {
    /// A file that the restorer is to be given. What is no file of any mount and was not declared is one of a
    /// kind that images do not hold.
    pub(super) fn outside(&mut self, target: &Target, seen: &Seen) -> OpenTarget {
        let kind = seen.kind().unwrap_or(FileKind::Regular);
        let holder = holder(&self.holders, target, seen.number);
        let socket = sockets::is_socket(seen);
        let known = seen.path.starts_with(b"/")
            || seen.pipe_end().is_some()
            || socket && sockets::is_unix(target, seen);
        if !known && self.names.declared(holder).is_none() {
            let cause = match socket {
                true => TaskCause::Other(sockets::why_not(target, seen)),
                false => TaskCause::Unsupported(seen.path.clone()),
            };
            self.refuse(target, seen, cause);
            return nothing(seen, kind);
        }
        match self.names.name(holder) {
            Ok(name) => OpenTarget::External {
                name,
                kind,
                described: seen.path.clone(),
            },
            Err(declaration) => {
                let shown = seen.path.clone();
                let cause = TaskCause::Undeclared { shown, declaration };
                self.refuse(target, seen, cause);
                nothing(seen, kind)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_name_comes_before_others_and_the_rest_needs_a_declaration() {
        let mut policy = Policy::default();
        policy.external(b"log=fd:1:1").unwrap();
        let holder = |pid, number| Holder {
            pid,
            first: pid == 1,
            number,
        };
        let mut names = Names::new(&policy);
        assert_eq!(names.name(holder(1, 0)).as_deref(), Ok("stdin"));
        assert_eq!(names.name(holder(1, 1)).as_deref(), Ok("log"));
        assert_eq!(names.name(holder(7, 0)), Err("fd:7:0=fd:7:0".to_owned()));
        policy.external(b"auto").unwrap();
        let mut names = Names::new(&policy);
        assert_eq!(names.name(holder(7, 0)).as_deref(), Ok("fd:7:0"));
        assert_eq!(names.name(holder(7, 0)).as_deref(), Ok("fd:7:0#2"));
    }
}
