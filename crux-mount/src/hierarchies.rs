//! Hierarchies of cgroups (cgroups(7)): in a mount table, and where a process is in them.
//!
//! Kind: pure.

use crate::mountinfo::Entry;
use crux_image::tasks::CgroupMembership;

/// /proc/PID/cgroup: lines of `NUMBER:CONTROLLERS:PATH`. None if there is anything else.
pub fn memberships(text: &[u8]) -> Option<Vec<CgroupMembership>> {
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let line = |line: &[u8]| {
        let mut parts = line.splitn(3, |b| *b == b':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        // One that was removed keeps its members.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        Some(CgroupMembership {
            controllers: controllers.to_vec(),
            path: path.to_vec(),
        })
    };
    lines.map(line).collect()
}

/// Whether the cgroup `path` is `above`, or beneath it.
pub fn is_within(path: &[u8], above: &[u8]) -> bool {
    let rest = path.strip_prefix(above.strip_suffix(b"/").unwrap_or(above));
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Whether this is a hierarchy, and all of it.
pub fn is_whole(entry: &Entry) -> bool {
    entry.root.path == b"/" && [&b"cgroup"[..], b"cgroup2"].contains(&&entry.fs_type[..])
}

/// Where the hierarchy with these controllers, as /proc/PID/cgroup names them, is mounted as a whole.
pub fn whole<'a>(table: &'a [Entry], controllers: &[u8]) -> Option<&'a Entry> {
    let version_2 = controllers.is_empty();
    let wanted = controllers.split(|byte| *byte == b',');
    let has = |entry: &Entry, wanted: &[u8]| {
        let (key, value) = match wanted.strip_prefix(b"name=") {
            Some(name) => (&b"name"[..], Some(name)),
            None => (wanted, None),
        };
        let mut options = entry.options.iter();
        options.any(|it| it.key == key && it.value.as_deref() == value)
    };
    let fits = |entry: &&Entry| {
        is_whole(entry)
            && match version_2 {
                true => entry.fs_type == b"cgroup2",
                false => entry.fs_type == b"cgroup" && wanted.clone().all(|it| has(entry, it)),
            }
    };
    table.iter().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo::parse;

    #[test]
    fn memberships_are_read() {
        let found =
            memberships(b"9:name=systemd:/a:b\n1:cpu,cpuacct:/\n0::/gone (deleted)\n").unwrap();
        let of = |at: usize| (found[at].controllers.as_slice(), found[at].path.as_slice());
        assert_eq!(of(0), (&b"name=systemd"[..], &b"/a:b"[..]));
        assert_eq!(of(1), (&b"cpu,cpuacct"[..], &b"/"[..]));
        assert_eq!(of(2), (&b""[..], &b"/gone"[..]));
        assert_eq!(memberships(b"9\n"), None);
    }

    #[test]
    fn what_only_begins_alike_is_not_within() {
        for above in [&b"/"[..], b"/a", b"/a/", b"/a/b"] {
            assert!(is_within(b"/a/b", above));
        }
        for other in [&b"/a/b/c"[..], b"/a/bc", b"/c"] {
            assert!(!is_within(b"/a/b", other));
        }
    }

    const TABLE: &[u8] = include_bytes!("../testdata/debian12-systemd-mountinfo.txt");

    #[test]
    fn a_hierarchy_is_found_by_its_controllers_where_all_of_it_is() {
        let table = parse(TABLE).unwrap();
        let whole_table: Vec<_> = table
            .into_iter()
            .map(|mut entry| {
                entry.root.path = b"/".to_vec();
                entry
            })
            .collect();
        for entry in whole_table.iter().filter(|it| it.fs_type == b"cgroup2") {
            assert_eq!(whole(&whole_table, b"").unwrap().fs_type, entry.fs_type);
        }
        assert!(whole(&whole_table, b"no,such").is_none());
        let part = parse(b"1 0 0:1 /deeper /c rw - cgroup2 c rw\n").unwrap();
        assert!(whole(&part, b"").is_none());
        let named = parse(b"1 0 0:1 / /s rw - cgroup c rw,name=systemd\n").unwrap();
        assert!(whole(&named, b"name=systemd").is_some());
        assert!(whole(&named, b"name=other").is_none());
    }
}
