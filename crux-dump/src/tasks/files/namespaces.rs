//! Descriptors of namespaces (`/proc/PID/ns/*`).
//!
//! Kind: effect. Each is recorded as that of a process that is in it, once the record of that process is complete.

use super::{Collector, Seen, nothing};
use crate::tasks::{Target, TaskCause};
use crux_image::mounts::FileKind;
use crux_image::tasks::{OpenNamespace, OpenTarget, ProcessIndex};
use crux_mount::sys::SysError;
use rustix::fs::readlinkat;
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::AsFd as _;

/// By what a link to it says (`net:[4026531840]`): who is in it.
type Inhabitants = HashMap<Vec<u8>, ProcessIndex>;

/// Those of the processes of a container, and the dumper's own.
#[derive(Debug)]
pub(super) struct Known {
    container: Inhabitants,
    own: Inhabitants,
}

impl Known {
    fn new(targets: &[Target], this: &Target) -> Result<Self, SysError> {
        let mut known = Self {
            container: Inhabitants::new(),
            own: Inhabitants::new(),
        };
        for (at, target) in targets.iter().enumerate() {
            if !target.zombie {
                note(target, at.into(), &mut known.container)?;
            }
        }
        note(this, 0.into(), &mut known.own)?;
        Ok(known)
    }
}

fn note(target: &Target, at: ProcessIndex, inhabitants: &mut Inhabitants) -> Result<(), SysError> {
    for kind in OpenNamespace::KINDS {
        match readlinkat(target.directory.as_fd(), format!("ns/{kind}"), Vec::new()) {
            Ok(link) => {
                inhabitants.entry(link.into_bytes()).or_insert(at);
            }
            // The kernel may not have the kind.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(SysError::new("readlink(ns)", errno)),
        }
    }
    Ok(())
}

/// The kind of a namespace, if a descriptor is of one.
fn kind(path: &[u8]) -> Option<&'static str> {
    let of = |kind: &&&str| {
        let rest = path.strip_prefix(kind.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b":["))
    };
    OpenNamespace::KINDS.iter().find(of).copied()
}

impl Collector<'_> {
    /// What a descriptor of a namespace leads to: something that stands there until the processes are recorded.
    pub(super) fn namespace(
        &mut self,
        target: &Target,
        seen: &Seen,
    ) -> Result<Option<OpenTarget>, SysError> {
        let Some(kind) = kind(&seen.path) else {
            return Ok(None);
        };
        let known = match &mut self.namespaces {
            Some(known) => known,
            none => none.insert(Known::new(self.targets, &self.this)?),
        };
        if let Some(process) = known.container.get(&seen.path) {
            let file = self.files.files.len().into();
            self.files.namespaces.push((file, kind, *process));
            return Ok(Some(nothing(seen, FileKind::Regular)));
        }
        if known.own.contains_key(&seen.path) {
            return Ok(Some(self.outside(target, seen)));
        }
        let what = format!(
            "is of a {kind} namespace that no process of the container is in, which cannot be dumped yet"
        );
        self.refuse(target, seen, TaskCause::Other(what));
        Ok(Some(nothing(seen, FileKind::Regular)))
    }
}
