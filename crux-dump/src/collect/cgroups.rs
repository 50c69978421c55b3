//! Where the roots of the container's cgroup namespaces are, and what is beneath.
//!
//! Kind: effect where it looks. A process is shown where it is from the root of the reader's namespace: read from outside
//! and from inside, what the one has in front of the other is the root.

use super::DumpError;
use super::machine::Machine;
use super::process::{self, Process};
use crate::judge::NamespaceId;
use crux_mount::sys::{NamespaceKind, open_process_namespace, setns};
use crux_mount::{hierarchies, mountinfo};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Controllers (of version 1, or none), and the path of the root.
pub(crate) type Roots = Vec<(Vec<u8>, Vec<u8>)>;

/// What is known of cgroups before the tasks are asked where they are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SeenCgroups {
    /// The roots of cgroup namespaces, by inode number.
    pub(crate) roots: Vec<(u64, Roots)>,
    /// All that is beneath them. Nobody need be in it.
    pub(crate) beneath: Roots,
}

/// The container's cgroup namespaces, and all cgroups that are seen in them.
pub(crate) fn read(pid: u32) -> Result<SeenCgroups, DumpError> {
    let roots = namespaces(pid)?;
    let all: BTreeSet<_> = roots.iter().flat_map(|(_, roots)| roots).collect();
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let table = mountinfo::parse(&text).unwrap_or_default();
    let mut beneath = Vec::new();
    for (controllers, path) in all {
        // Who sees nothing of the hierarchy has nothing mounted of it to give either.
        if let Some(entry) = hierarchies::whole(&table, controllers) {
            let top = [&entry.mountpoint[..], path].concat();
            walk(Path::new(OsStr::from_bytes(&top)), path, &mut |path| {
                beneath.push((controllers.clone(), path));
            });
        }
    }
    beneath.truncate(MOST);
    Ok(SeenCgroups { roots, beneath })
}

/// More than these are those of a machine, and not of a container.
const MOST: usize = 4096;

/// Parents before children. One that goes meanwhile is none.
fn walk(directory: &Path, path: &[u8], found: &mut impl FnMut(Vec<u8>)) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name())
        .collect();
    names.sort_unstable();
    for name in names {
        let above = path.strip_suffix(b"/").unwrap_or(path);
        let path = [above, b"/", name.as_bytes()].concat();
        found(path.clone());
        walk(&directory.join(name), &path, found);
    }
}

/// Of each namespace that a process or a descendant of its is in, but the dumper's own, by inode number.
fn namespaces(pid: u32) -> Result<Vec<(u64, Roots)>, DumpError> {
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

/// Controllers and path.
type Line<'a> = (&'a [u8], &'a [u8]);

/// Hierarchies whose root cannot be told are left out: who has moved out of it.
fn roots(outside: &[u8], inside: &[u8]) -> Roots {
    let both = lines(outside).zip(lines(inside));
    let root = |(outside, inside): (Line<'_>, Line<'_>)| {
        let below = if inside.1 == b"/" { &b""[..] } else { inside.1 };
        let root = outside.1.strip_suffix(below)?;
        let root = if root.is_empty() { &b"/"[..] } else { root };
        (outside.0 == inside.0).then(|| (outside.0.to_vec(), root.to_vec()))
    };
    both.filter_map(root).collect()
}

/// Lines of `NUMBER:CONTROLLERS:PATH`.
fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
        Some((parts.next()?, parts.next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_what_the_inside_does_not_show() {
        let outside = b"2:cpu:/a/b/c\n1:pids:/a\n0::/x\n";
        let inside = b"2:cpu:/c\n1:pids:/\n0::/x\n";
        let found = roots(outside, inside);
        let root = |at: usize| found[at].1.as_slice();
        assert_eq!(
            (root(0), root(1), root(2)),
            (&b"/a/b"[..], &b"/a"[..], &b"/"[..])
        );
        assert_eq!(roots(b"0::/x\n", b"0::/../y\n"), []);
    }
}
