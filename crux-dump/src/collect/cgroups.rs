//! Where the roots of the container's cgroup namespaces are, and what is beneath.
//!
//! Kind: effect where it looks. A process is shown where it is from the root of the reader's namespace: read from outside
//! and from inside, what the one has in front of the other is the root.

use super::DumpError;
use super::machine::Machine;
use super::process::{self, Process};
use crate::judge::NamespaceId;
use crux_image::tasks::{BpfKind, CgroupFile, CgroupMembership, CgroupSettings};
use crux_mount::hierarchies::{self, is_within, memberships};
use crux_mount::mountinfo;
use crux_mount::sys::{NamespaceKind, bpf_attached, open_process_namespace, setns};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What is known of cgroups before the tasks are asked where they are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SeenCgroups {
    /// The roots of cgroup namespaces, by inode number.
    pub(crate) roots: Vec<(u64, Vec<CgroupMembership>)>,
    /// All that is beneath them. Nobody need be in it.
    pub(crate) beneath: Vec<CgroupMembership>,
    /// eBPF programs that are attached there. What is attached to a root is whose it was who made the container.
    pub(crate) attached: Vec<AttachedProgram>,
    /// What roots and those beneath are set to.
    pub(crate) settings: Vec<CgroupSettings>,
}

/// An eBPF program that is attached to a cgroup of version 2.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AttachedProgram {
    pub(crate) cgroup: Vec<u8>,
    /// The number of the program.
    pub(crate) program: u32,
    /// `enum bpf_attach_type`, and `BPF_F_ALLOW_*`.
    pub(crate) point: u32,
    pub(crate) flags: u32,
}

/// The container's cgroup namespaces, and all cgroups that are seen in them.
pub(crate) fn read(pid: u32) -> Result<SeenCgroups, DumpError> {
    let roots = namespaces(pid)?;
    let own = std::fs::read("/proc/self/cgroup").unwrap_or_default();
    let own = memberships(&own).unwrap_or_default();
    let all = roots.iter().flat_map(|(_, roots)| roots);
    let all: BTreeSet<_> = all.filter(|root| !is_around(root, &own)).collect();
    if all.is_empty() {
        return Ok(SeenCgroups {
            roots,
            ..SeenCgroups::default()
        });
    }
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let table = mountinfo::parse(&text).unwrap_or_default();
    let (mut beneath, mut attached, mut settings) = (Vec::new(), Vec::new(), Vec::new());
    for root in all {
        // Who sees nothing of the hierarchy has nothing mounted of it to give either.
        if let Some(entry) = hierarchies::whole(&table, &root.controllers) {
            let top = [&entry.mountpoint[..], &root.path].concat();
            let top = Path::new(OsStr::from_bytes(&top));
            settings.extend(read_settings(top, &root.controllers, &root.path));
            walk(top, &root.path, &mut |place, path| {
                settings.extend(read_settings(place, &root.controllers, &path));
                if root.controllers.is_empty() {
                    attached.extend(programs(place, &path));
                }
                beneath.push(CgroupMembership {
                    controllers: root.controllers.clone(),
                    path,
                });
            });
        }
    }
    beneath.truncate(MOST);
    Ok(SeenCgroups {
        roots,
        beneath,
        attached,
        settings,
    })
}

/// Nothing where nothing can be read: of a hierarchy without controllers.
fn read_settings(place: &Path, controllers: &[u8], path: &[u8]) -> Option<CgroupSettings> {
    let files = CgroupFile::ALL.iter().enumerate();
    let values = files.filter_map(|(at, file)| {
        let value = std::fs::read(place.join(file.name)).ok()?;
        let says = !value.trim_ascii().is_empty() && value.len() <= CgroupFile::LONGEST;
        says.then_some((at as u32, value))
    });
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| CgroupSettings {
        cgroup: CgroupMembership {
            controllers: controllers.to_vec(),
            path: path.to_vec(),
        },
        values,
    })
}

/// Those that are attached to a cgroup. A kernel without has none, and so has a point that it does not know.
fn programs(place: &Path, path: &[u8]) -> Vec<AttachedProgram> {
    let Ok(cgroup) = std::fs::File::open(place) else {
        return Vec::new();
    };
    let points = BpfKind::ALL.iter().flat_map(|kind| kind.points);
    let found = points.flat_map(|point| {
        let found = bpf_attached(&cgroup, *point).unwrap_or_default();
        found.into_iter().map(|it| AttachedProgram {
            cgroup: path.to_vec(),
            program: it.id,
            point: *point,
            flags: it.flags,
        })
    });
    found.collect()
}

/// Whether this process is there as well, or beneath: what else is there is not the container's alone.
fn is_around(root: &CgroupMembership, own: &[CgroupMembership]) -> bool {
    own.iter()
        .any(|it| it.controllers == root.controllers && is_within(&it.path, &root.path))
}

/// More than these are those of a machine, and not of a container.
const MOST: usize = 4096;

/// Parents before children. One that goes meanwhile is none.
fn walk(directory: &Path, path: &[u8], found: &mut impl FnMut(&Path, Vec<u8>)) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name())
        .collect();
    names.sort_unstable();
    for name in names {
        let above = path.strip_suffix(b"/").unwrap_or(path);
        let path = [above, b"/", name.as_bytes()].concat();
        let place = directory.join(name);
        found(&place, path.clone());
        walk(&place, &path, found);
    }
}

/// Of each namespace that a process or a descendant of its is in, but the dumper's own, by inode number.
fn namespaces(pid: u32) -> Result<Vec<(u64, Vec<CgroupMembership>)>, DumpError> {
    let own = Process::open(std::process::id())?;
    let fail = |pid: u32| move |error| DumpError::Process { pid, error };
    let open =
        |process: &Process| open_process_namespace(process.directory(), NamespaceKind::Cgroup);
    let Ok(home) = open(&own) else {
        // A kernel without such namespaces.
        return Ok(Vec::new());
    };
    let home_id = process::identity(&home).map_err(fail(own.pid))?;
    let machine = Machine::scan()?;
    let descendants = machine.descendants(pid, &HashSet::new())?;
    let descendants = descendants.into_iter().map(|(pid, _)| pid);
    let mut known: HashSet<NamespaceId> = HashSet::from([home_id]);
    let mut found = Vec::new();
    for pid in std::iter::once(pid).chain(descendants) {
        let process = match Process::open(pid) {
            Ok(process) => process,
            Err(DumpError::NoProcess(_) | DumpError::Zombie(_)) => continue,
            Err(error) => return Err(error),
        };
        let there = open(&process).map_err(fail(pid))?;
        let id = process::identity(&there).map_err(fail(pid))?;
        if !known.insert(id) {
            continue;
        }
        super::capabilities::check_entering()?;
        let outside = process.read("cgroup").unwrap_or_default();
        setns(&there, NamespaceKind::Cgroup).map_err(fail(pid))?;
        let inside = process.read("cgroup").unwrap_or_default();
        // What is read otherwise might be as the container sees it.
        setns(&home, NamespaceKind::Cgroup).map_err(fail(own.pid))?;
        found.push((id.0, roots(&outside, &inside)));
    }
    Ok(found)
}

/// Hierarchies whose root cannot be told are left out: who has moved out of it.
fn roots(outside: &[u8], inside: &[u8]) -> Vec<CgroupMembership> {
    let read = |text| memberships(text).unwrap_or_default().into_iter();
    let root = |(mut outside, inside): (CgroupMembership, CgroupMembership)| {
        let below = match &inside.path[..] {
            b"/" => b"",
            path => path,
        };
        let root = outside.path.strip_suffix(below)?;
        outside.path = if root.is_empty() { b"/" } else { root }.to_vec();
        (outside.controllers == inside.controllers).then_some(outside)
    };
    read(outside).zip(read(inside)).filter_map(root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_the_dumper_is_beneath_is_not_the_containers_alone() {
        let root = |path: &[u8]| CgroupMembership {
            controllers: b"cpu".to_vec(),
            path: path.to_vec(),
        };
        let own = memberships(b"2:cpu:/a/b\n1:pids:/c\n").unwrap();
        for around in [&b"/"[..], b"/a", b"/a/b"] {
            assert!(is_around(&root(around), &own));
        }
        for other in [&b"/a/b/c"[..], b"/a/bc", b"/c"] {
            assert!(!is_around(&root(other), &own));
        }
    }

    #[test]
    fn a_root_is_what_the_inside_does_not_show() {
        let outside = b"2:cpu:/a/b/c\n1:pids:/a\n0::/x\n";
        let inside = b"2:cpu:/c\n1:pids:/\n0::/x\n";
        let found = roots(outside, inside);
        let root = |at: usize| found[at].path.as_slice();
        assert_eq!(
            (root(0), root(1), root(2)),
            (&b"/a/b"[..], &b"/a"[..], &b"/"[..])
        );
        assert_eq!(roots(b"0::/x\n", b"0::/../y\n"), []);
    }
}
