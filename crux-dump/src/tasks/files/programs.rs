//! eBPF programs that tasks have descriptors of.
//!
//! Kind: effect.

use super::pipes::duplicate;
use super::{Collector, Seen, nothing};
use crate::collect::cgroups::AttachedProgram;
use crate::tasks::programs::{loaded, trial};
use crate::tasks::{Target, TaskCause};
use crux_image::mounts::FileKind;
use crux_image::tasks::{BpfAttachment, BpfKind, BpfProgram, OpenTarget, PERMIT, tag_text};
use crux_mount::sys::{BpfInfo, SysError, bpf_info};

impl Collector<'_> {
    /// A program, by its number. Two descriptions of one become one: there is nothing else to them.
    pub(super) fn program(&mut self, target: &Target, seen: &Seen) -> Result<OpenTarget, SysError> {
        let copy = duplicate(target, seen.number)?;
        let info = bpf_info(&copy)?;
        if let Some(known) = self.programs.get(&info.id) {
            return Ok(OpenTarget::Program(*known));
        }
        match self.recorded(&info) {
            Ok(program) => {
                let index = self.files.programs.len().into();
                self.files.programs.push(program);
                self.files.program_numbers.push(info.id);
                self.programs.insert(info.id, index);
                Ok(OpenTarget::Program(index))
            }
            Err(what) => {
                self.refuse(target, seen, TaskCause::Other(what));
                Ok(nothing(seen, FileKind::Regular))
            }
        }
    }

    fn recorded(&self, info: &BpfInfo) -> Result<BpfProgram, String> {
        let Some(kind) = BpfKind::of(info.kind) else {
            let number = info.kind;
            return Err(format!(
                "is an eBPF program of type {number}, which cannot be dumped yet"
            ));
        };
        let places = self.attached.iter().filter(|it| it.program == info.id);
        let attached: Vec<_> = places.map(attachment).collect();
        let described = format!(
            "is an eBPF program ({}, tag {})",
            kind.name,
            tag_text(info.tag)
        );
        let expected = match (kind.expects, attached.first()) {
            (false, _) => 0,
            (true, Some(place)) => place.point,
            (true, None) => {
                return Err(format!(
                    "{described} of which is not told what it was loaded for"
                ));
            }
        };
        let (instructions, tag, replaced) = match self.original(info, kind, expected) {
            Some(instructions) => (instructions, info.tag, false),
            None if self.replaces_programs => {
                let permits = trial(info.kind, expected, info.gpl, &PERMIT);
                let permits =
                    permits.map_err(|error| format!("{described}; one in its place: {error}"))?;
                (PERMIT.to_vec(), permits.tag, true)
            }
            None => {
                return Err(format!(
                    "{described} whose instructions cannot be read and loaded again; --replace-bpf puts one in \
                     its place that permits everything"
                ));
            }
        };
        Ok(BpfProgram {
            kind: info.kind,
            expected,
            name: info.name.clone(),
            gpl: info.gpl,
            tag,
            instructions,
            replaced,
            attached,
        })
    }

    /// What it was loaded with. Finding that out takes the kernel dozens of programs, and systemd has one several times.
    fn original(&self, info: &BpfInfo, kind: BpfKind, expected: u32) -> Option<Vec<u64>> {
        let mut known = self.files.programs.iter();
        let known = known.find(|it| {
            (it.kind, it.expected, it.tag) == (info.kind, expected, info.tag) && !it.replaced
        });
        match known {
            // A tag says nothing of the maps that a program uses.
            Some(known) if info.maps == 0 => Some(known.instructions.clone()),
            _ => loaded(info, kind, expected),
        }
    }
}

fn attachment(found: &AttachedProgram) -> BpfAttachment {
    BpfAttachment {
        cgroup: found.cgroup.clone(),
        point: found.point,
        flags: found.flags,
    }
}
