//! Hierarchies of cgroups (cgroups(7)) in a mount table.
//!
//! Kind: pure.

use crate::mountinfo::Entry;

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
        entry.root.path == b"/"
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
