//! Where the roots of the container's cgroup namespaces are.
//!
//! Kind: effect where it looks. A process is shown where it is from the root of the reader's namespace: read from outside
//! and from inside, what the one has in front of the other is the root.

use super::DumpError;
use super::machine::Machine;
use super::process::{self, Process};
use crate::judge::NamespaceId;
use crux_mount::sys::{NamespaceKind, open_process_namespace, setns};
use std::collections::HashSet;

/// Controllers (of version 1, or none), and the path of the root.
pub(crate) type Roots = Vec<(Vec<u8>, Vec<u8>)>;

/// Of each namespace that a process or a descendant of its is in, but the dumper's own, by inode number.
pub(crate) fn read(pid: u32) -> Result<Vec<(u64, Roots)>, DumpError> {
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
