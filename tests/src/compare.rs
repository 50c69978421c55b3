//! Two mount tables compared up to ids.
//!
//! Kind: pure. Mounts are matched by (parent, mountpoint) from the top down;
//! ids, device numbers and peer groups may be renamed, but one to one. A group
//! that the host has as well is outside: it has to be the very same.

use crate::table::{Entry, Table};
use std::collections::BTreeMap;

/// What is different, in lines for people. Empty: the tables are the same.
pub fn differences(before: &Table, after: &Table, host: &Table) -> Vec<String> {
    differences_of_all(&[(before, after)], host)
}

/// The same for all mount namespaces of a container: groups and devices are
/// renamed alike in each.
pub fn differences_of_all(pairs: &[(&Table, &Table)], host: &Table) -> Vec<String> {
    let mut walk = Walk::new(host);
    for (before, after) in pairs {
        walk.before = before.children();
        walk.after = after.children();
        match (before.top(), after.top()) {
            (Some(was), Some(is)) => walk.pair(was, is),
            (None, None) => {}
            (was, is) => walk.lines.push(format!("top: {was:?} became {is:?}")),
        }
    }
    walk.lines
}

struct Walk<'a> {
    before: BTreeMap<u64, Vec<&'a Entry>>,
    after: BTreeMap<u64, Vec<&'a Entry>>,
    host: &'a Table,
    groups: Renaming<u64>,
    devices: Renaming<String>,
    lines: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(host: &'a Table) -> Self {
        Self {
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            host,
            groups: Renaming::default(),
            devices: Renaming::default(),
            lines: Vec::new(),
        }
    }

    fn pair(&mut self, was: &'a Entry, is: &'a Entry) {
        self.fields(was, is);
        let left = self.before.get(&was.id).cloned().unwrap_or_default();
        let mut right = self.after.get(&is.id).cloned().unwrap_or_default();
        for old in left {
            match right
                .iter()
                .position(|new| new.mountpoint == old.mountpoint)
            {
                Some(at) => self.pair(old, right.swap_remove(at)),
                None => self.lines.push(format!("lost: {old}")),
            }
        }
        let extra = right.iter().map(|new| format!("not there before: {new}"));
        self.lines.extend(extra);
    }

    fn fields(&mut self, was: &Entry, is: &Entry) {
        let same = [
            was.root == is.root,
            was.attributes == is.attributes,
            was.fs_type == is.fs_type,
            was.source == is.source,
            was.options == is.options,
            was.unbindable == is.unbindable,
            self.devices.agree(&was.device, &is.device),
            self.group(was.shared, is.shared),
            self.group(was.master, is.master),
        ];
        if same.contains(&false) {
            self.lines.push(format!("was:    {was}"));
            self.lines.push(format!("became: {is}"));
        }
    }

    fn group(&mut self, was: Option<u64>, is: Option<u64>) -> bool {
        match (was, is) {
            (None, None) => true,
            (Some(was), Some(is)) if self.host.has_group(was) || self.host.has_group(is) => {
                was == is
            }
            (Some(was), Some(is)) => self.groups.agree(&was, &is),
            _ => false,
        }
    }
}

/// A one-to-one renaming that is found on the way.
#[derive(Default)]
struct Renaming<T> {
    there: BTreeMap<T, T>,
    back: BTreeMap<T, T>,
}

impl<T: Ord + Clone> Renaming<T> {
    fn agree(&mut self, was: &T, is: &T) -> bool {
        let there = self.there.entry(was.clone()).or_insert_with(|| is.clone());
        let back = self.back.entry(is.clone()).or_insert_with(|| was.clone());
        there == is && back == was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
1 0 8:1 / / rw shared:1 - ext4 /dev/a rw
2 1 0:5 / /a rw shared:2 master:9 - tmpfs  rw
3 2 0:5 /x /a rw shared:2 master:9 - tmpfs  rw
4 1 0:6 / /b rw unbindable - tmpfs none rw
";
    const HOST: &str = "1 0 8:1 / / rw shared:9 - ext4 /dev/a rw\n";

    fn compare(changes: &[(&str, &str)]) -> Vec<String> {
        let changed = changes.iter().fold(TABLE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let table = |text: &str| Table::parse(text.as_bytes()).unwrap();
        differences(&table(TABLE), &table(&changed), &table(HOST))
    }

    #[test]
    fn renamed_ids_groups_and_devices_are_the_same() {
        let renamed = [
            ("shared:2", "shared:7"),
            ("0:5", "0:9"),
            ("2 1 ", "22 1 "),
            ("3 2 ", "33 22 "),
        ];
        assert_eq!(compare(&renamed), [""; 0]);
    }

    #[test]
    fn every_other_change_is_a_difference() {
        let cases = [
            ("master:9", "master:8"),
            ("unbindable ", ""),
            ("3 2 0:5", "3 2 0:7"),
            ("3 2 0:5 /x /a rw shared:2", "3 2 0:5 /x /a rw shared:5"),
            ("/b rw", "/b ro"),
            ("none rw", "none ro"),
            ("tmpfs none", "tmpfs some"),
            ("/b", "/c"),
            ("4 1 0:6", "4 2 0:6"),
            ("/x", "/y"),
            ("shared:1", "shared:2"),
        ];
        for (from, to) in cases {
            assert_ne!(compare(&[(from, to)]), [""; 0], "{from} to {to}");
        }
    }
}
