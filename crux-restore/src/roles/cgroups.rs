//! Cgroups: makes those that tasks are to be in, moves tasks there, and removes again what it made.
//!
//! Kind: effect. It is given the caller's own mount table, and the plan, which it does not trust: it does what the command line
//! grants, goes nowhere but beneath the roots of hierarchies, follows no link, and loads only programs that keep to themselves.

use super::hierarchies::{place, root};
use super::message::{Answer, FACTS, Placing, Refusal, bound};
use crate::failure::{Exit, Failure};
use crate::tasks::cgroups::{CgroupPlan, CgroupRights, ungranted};
use crux_image::path::Escaped;
use crux_image::tasks::{BpfProgram, CgroupFile, CgroupMembership, CgroupWriting};
use crux_mount::hierarchies;
use crux_mount::mountinfo::Entry;
use crux_mount::sys::{self, BpfLoad};
use crux_role::{Channel, ChannelError};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::{Errno, read, write};
use std::fmt::Display;
use std::time::{Duration, Instant};

/// Everything that it does. It ends where the supervisor has gone.
pub(crate) fn work(
    rights: CgroupRights,
    table: Vec<Entry>,
    channel: &Channel,
) -> Result<(), ChannelError> {
    let mut cgroups = Cgroups {
        rights,
        table,
        ..Cgroups::default()
    };
    loop {
        let (placing, _) = channel.receive::<Placing>(bound(FACTS, 0))?;
        let done = match placing {
            Placing::Make(plan) => cgroups.make(plan),
            Placing::Load(at) => match cgroups.load(at) {
                Ok(program) => {
                    channel.send(&Answer::<()>::Ok(()), &[program.as_fd()])?;
                    continue;
                }
                Err(failure) => Err(failure),
            },
            Placing::First(pid) => cgroups.place_first(pid),
            Placing::All(processes) => cgroups.place_all(&processes),
            Placing::Undo => cgroups.undo(),
        };
        channel.send(&done.map_err(Refusal::from), &[])?;
    }
}

#[derive(Default)]
struct Cgroups {
    rights: CgroupRights,
    /// The caller's mount table.
    table: Vec<Entry>,
    plan: CgroupPlan,
    /// In the order of the plan.
    open: Vec<OwnedFd>,
    /// What was made: in which directory, and the name.
    made: Vec<(OwnedFd, Vec<u8>)>,
    /// What was attached: to which cgroup, which program, and where.
    attached: Vec<(OwnedFd, OwnedFd, u32)>,
}

impl Cgroups {
    fn make(&mut self, plan: CgroupPlan) -> Result<(), Failure> {
        check(&plan, &self.rights)?;
        self.plan = plan;
        for cgroup in self.plan.cgroups.clone() {
            let opened = self.open_one(&cgroup);
            match opened {
                Ok(opened) => self.open.push(opened),
                Err(failure) => {
                    self.undo()?;
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    fn open_one(&mut self, cgroup: &CgroupMembership) -> Result<OwnedFd, Failure> {
        let shown = Escaped(&cgroup.path);
        let root = hierarchy(&self.table, &cgroup.controllers)?;
        let failed = |call: &str, errno: Errno| {
            let cause = std::io::Error::from(errno);
            let what = format_args!("make the cgroup \"{shown}\": {call}: {cause}");
            Failure::new(Exit::Undone, what)
        };
        let (mut here, mut path) = (root, Vec::new());
        let names = cgroup.path.split(|byte| *byte == b'/');
        for name in names.filter(|name| !name.is_empty()) {
            if matches!(name, b"." | b"..") {
                return Err(failed("openat", Errno::INVAL));
            }
            path.extend_from_slice(&[b"/", name].concat());
            let points = self.points(cgroup, &path);
            let there = place(&here, name);
            let there = there.and_then(|it| or_stale(it, &here, name, &points));
            let found = match there {
                Err(Errno::NOENT) => {
                    let mode = Mode::from_raw_mode(0o755);
                    mkdirat(&here, name, mode).map_err(|errno| failed("mkdirat", errno))?;
                    let above = here.try_clone();
                    let above = above.map_err(|_| failed("dup", Errno::MFILE))?;
                    self.made.push((above, name.to_vec()));
                    let made = place(&here, name).map_err(|errno| failed("openat", errno))?;
                    inherit_processors(&here, &made);
                    self.set(&made, &cgroup.controllers, &path)?;
                    made
                }
                other => {
                    let there = other.map_err(|errno| failed("openat", errno))?;
                    inherit_processors(&here, &there);
                    there
                }
            };
            here = found;
        }
        Ok(here)
    }

    /// Where programs are to be attached to the cgroup `path` of the hierarchy of another.
    fn points(&self, cgroup: &CgroupMembership, path: &[u8]) -> Vec<u32> {
        let programs = self.plan.programs.iter().flat_map(|it| &it.attached);
        let here = programs.filter(|it| cgroup.controllers.is_empty() && it.cgroup == path);
        here.map(|it| it.point).collect()
    }

    /// What is there already is as whoever made it wants it; what is made here is as it was.
    fn set(&self, cgroup: &OwnedFd, controllers: &[u8], path: &[u8]) -> Result<(), Failure> {
        let all = self.plan.settings.iter();
        let mut known = all.filter(|it| it.cgroup.controllers == controllers);
        let Some(settings) = known.find(|it| it.cgroup.path == path) else {
            return Ok(());
        };
        for (at, value) in &settings.values {
            let Some(file) = CgroupFile::ALL.get(*at as usize) else {
                continue;
            };
            // What it has already need not be written; most of it is so.
            if text(cgroup, file.name).is_none_or(|now| now == *value) {
                continue;
            }
            write_setting(cgroup, *file, value).map_err(|errno| {
                let (shown, cause) = (Escaped(path), std::io::Error::from(errno));
                let (name, value) = (file.name, Escaped(value.trim_ascii()));
                let what =
                    format_args!("set {name} of the cgroup \"{shown}\" to \"{value}\": {cause}");
                Failure::new(Exit::Undone, what)
            })?;
        }
        Ok(())
    }

    /// Loads a program, which has to be the one that was dumped, and attaches it.
    fn load(&mut self, at: u32) -> Result<OwnedFd, Failure> {
        let amiss = |what: &dyn Display| {
            let what = format_args!("restore eBPF program {at}: {what}");
            Failure::new(Exit::Undone, what)
        };
        let Some(program) = self.plan.programs.get(at as usize).cloned() else {
            return Err(amiss(&"there is none"));
        };
        let loaded = sys::bpf_load(&BpfLoad {
            kind: program.kind,
            expected: program.expected,
            name: &program.name,
            gpl: program.gpl,
            instructions: &program.instructions,
        });
        let loaded = loaded.map_err(|error| amiss(&error))?;
        let info = sys::bpf_info(&loaded).map_err(|error| amiss(&error))?;
        if info.tag != program.tag {
            return Err(amiss(
                &"the kernel takes it for another one than was dumped",
            ));
        }
        for place in &program.attached {
            let cgroups = self.plan.cgroups.iter().zip(&self.open);
            let mut here = cgroups.filter(|(it, _)| it.controllers.is_empty());
            let found = here.find(|(it, _)| it.path == place.cgroup);
            let (_, directory) = found.ok_or_else(|| amiss(&"its cgroup is not there"))?;
            let cgroup = readable(directory);
            let cgroup = cgroup.map_err(|errno| amiss(&std::io::Error::from(errno)))?;
            let attached = sys::bpf_attach(&cgroup, &loaded, place.point, place.flags);
            attached.map_err(|error| amiss(&error))?;
            let copy = loaded.try_clone().map_err(|error| amiss(&error))?;
            self.attached.push((cgroup, copy, place.point));
        }
        Ok(loaded)
    }

    fn place_first(&self, pid: u32) -> Result<(), Failure> {
        self.place(&self.plan.first, pid)
    }

    fn place_all(
        &self,
        processes: &[(crux_image::tasks::ProcessIndex, u32)],
    ) -> Result<(), Failure> {
        for (process, pid) in processes {
            let mut planned = self.plan.processes.iter();
            if let Some((_, cgroups)) = planned.find(|(it, _)| it == process) {
                self.place(cgroups, *pid)?;
            }
        }
        Ok(())
    }

    fn place(&self, cgroups: &[u32], pid: u32) -> Result<(), Failure> {
        for at in cgroups {
            let at = *at as usize;
            let (Some(directory), Some(cgroup)) = (self.open.get(at), self.plan.cgroups.get(at))
            else {
                continue;
            };
            let written = change(directory, "cgroup.procs", pid.to_string().as_bytes());
            written.map_err(|errno| {
                let (shown, cause) = (Escaped(&cgroup.path), std::io::Error::from(errno));
                let what = format_args!("move task {pid} into the cgroup \"{shown}\": {cause}");
                Failure::new(Exit::Undone, what)
            })?;
        }
        Ok(())
    }

    /// Those who were in them have ended, but the kernel may not have seen to it yet.
    fn undo(&mut self) -> Result<(), Failure> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let since = Instant::now();
        self.open.clear();
        for (cgroup, program, point) in self.attached.drain(..) {
            // It goes with the cgroup otherwise.
            let _ = sys::bpf_detach(&cgroup, &program, point);
        }
        while let Some((directory, name)) = self.made.last() {
            match unlinkat(directory, name.as_slice(), AtFlags::REMOVEDIR) {
                Err(Errno::BUSY) if since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(()) | Err(Errno::NOENT) => drop(self.made.pop()),
                Err(errno) => {
                    let (shown, cause) = (Escaped(name), std::io::Error::from(errno));
                    let what = format_args!("remove the cgroup \"{shown}\" again: {cause}");
                    return Err(Failure::new(Exit::Uncertain, what));
                }
            }
        }
        Ok(())
    }
}

/// The planner, which has read the image, asks the same, to say how to grant what is missing.
fn check(plan: &CgroupPlan, rights: &CgroupRights) -> Result<(), Failure> {
    let missing = plan.missing(rights);
    if !missing.is_empty() {
        return Err(Failure::new(Exit::Undone, ungranted(&missing)));
    }
    match plan.programs.iter().all(BpfProgram::keeps_to_itself) {
        true => Ok(()),
        false => {
            let what = "load an eBPF program that does not keep to itself";
            Err(Failure::new(Exit::Undone, what))
        }
    }
}

/// KERNEL: a cgroup keeps its programs when those who were in it have ended, and nobody can take them off who has not loaded
/// them. One that a restore has left goes, if nobody is in it; it will be made again.
fn or_stale(
    found: OwnedFd,
    above: &OwnedFd,
    name: &[u8],
    points: &[u32],
) -> Result<OwnedFd, Errno> {
    if points.is_empty() {
        return Ok(found);
    }
    let cgroup = readable(&found)?;
    let taken = |point: &u32| sys::bpf_attached(&cgroup, *point).is_ok_and(|it| !it.is_empty());
    match points.iter().any(taken) {
        true => {
            unlinkat(above, name, AtFlags::REMOVEDIR)?;
            Err(Errno::NOENT)
        }
        false => Ok(found),
    }
}

/// The same directory, as bpf(2) takes it: not by path only.
fn readable(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(directory, c".", flags, Mode::empty())
}

/// The root of a hierarchy: where the caller has it mounted as a whole.
fn hierarchy(table: &[Entry], controllers: &[u8]) -> Result<OwnedFd, Failure> {
    let shown = if controllers.is_empty() {
        &b"2"[..]
    } else {
        controllers
    };
    let shown = Escaped(shown);
    let entry = hierarchies::whole(table, controllers).ok_or_else(|| {
        let what = format_args!(
            "find the cgroup hierarchy {shown}, in which tasks of the image are: it is not mounted as a whole here"
        );
        Failure::new(Exit::Lacking, what)
    })?;
    root(entry).map_err(|errno| {
        let cause = std::io::Error::from(errno);
        let what = format_args!("open the cgroup hierarchy {shown}: {cause}");
        Failure::new(Exit::Lacking, what)
    })
}

/// KERNEL: a new cgroup of version 1's cpuset has no processors and no memory, and nobody can be in it. Whoever made one may
/// have left it so. Version 2 has what is above anyway, and does not get here: its `cpuset.effective_cpus` is called otherwise.
fn inherit_processors(above: &OwnedFd, found: &OwnedFd) {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let is_version_1 = text(found, "cpuset.effective_cpus").is_some();
        let empty = text(found, name).is_some_and(|it| it.trim_ascii().is_empty());
        if let Some(above) = text(above, name).filter(|_| is_version_1 && empty) {
            // If it does not help, whoever is moved there hears of it.
            let _ = change(found, name, &above);
        }
    }
}

fn write_setting(cgroup: &OwnedFd, file: CgroupFile, value: &[u8]) -> Result<(), Errno> {
    let mut lines = value
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    match file.writing {
        CgroupWriting::Whole => change(cgroup, file.name, value),
        CgroupWriting::Lines => lines.try_for_each(|line| change(cgroup, file.name, line)),
        CgroupWriting::Added => {
            let mut words = value
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            words.try_for_each(|word| change(cgroup, file.name, &[b"+", word].concat()))
        }
    }
}

fn text(directory: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let mut text = vec![0; 4096];
    let file = openat(
        directory,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let length = read(&file, &mut text).ok()?;
    text.truncate(length);
    Some(text)
}

fn change(directory: &OwnedFd, name: &str, value: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    write(&file, value).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_image::tasks::{BpfAttachment, PERMIT};

    fn program(cgroup: &str, instructions: &[u64]) -> BpfProgram {
        BpfProgram {
            kind: 15,
            expected: 0,
            name: b"devices".to_vec(),
            gpl: false,
            tag: [0; 8],
            instructions: instructions.to_vec(),
            replaced: false,
            attached: vec![BpfAttachment {
                cgroup: cgroup.into(),
                point: 6,
                flags: 0,
            }],
        }
    }

    /// A planner that an image has taken over asks for what it likes.
    #[test]
    fn what_a_plan_asks_for_without_a_grant_is_refused() {
        let rights = CgroupRights {
            granted: vec![b"/granted".to_vec()],
            own: Vec::new(),
        };
        let asks = |path: &str, programs: Vec<BpfProgram>| {
            let cgroup = CgroupMembership {
                controllers: Vec::new(),
                path: path.into(),
            };
            let plan = CgroupPlan {
                cgroups: vec![cgroup],
                programs,
                ..CgroupPlan::default()
            };
            check(&plan, &rights).map_err(|failure| failure.message)
        };
        assert_eq!(
            asks("/granted/c", vec![program("/granted/c", &PERMIT)]),
            Ok(())
        );
        for (path, programs) in [
            ("/other", vec![]),
            ("/granted/c", vec![program("/", &PERMIT)]),
            // A map of whoever loads it.
            (
                "/granted/c",
                vec![program("/granted/c", &[1 << 12 | 0x18, 0])],
            ),
        ] {
            assert!(asks(path, programs).is_err(), "{path}");
        }
    }
}
