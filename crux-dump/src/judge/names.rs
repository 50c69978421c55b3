//! Names of external sources.
//!
//! Kind: pure. A name is unique in an image, printable and without `=`.

use crux_image::path::Escaped;
use std::collections::{HashMap, HashSet};

/// The names that are taken.
#[derive(Debug)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// Where to go on with numbers: a thousand mounts may be stacked on one mountpoint.
    next: HashMap<String, u64>,
}

impl Names {
    /// Those that the operator gave are taken.
    pub(super) fn new<'a>(declared: impl Iterator<Item = &'a str>) -> Self {
        Self {
            taken: declared.map(str::to_owned).collect(),
            next: HashMap::new(),
        }
    }

    /// The name of the container's root.
    pub(super) fn root(&mut self) -> String {
        self.free("root".to_owned())
    }

    /// A name after a mountpoint.
    pub(super) fn after(&mut self, mountpoint: &[u8]) -> String {
        self.free(Escaped(mountpoint).to_string().replace('=', "\\075"))
    }

    fn free(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        while !self.taken.insert(name.clone()) {
            let number = self.next.entry(wanted.clone()).or_insert(1);
            *number += 1;
            name = format!("{wanted}#{number}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_without_an_equals_sign() {
        let mut names = Names::new(["/a"].into_iter());
        assert_eq!(names.after(b"/a"), "/a#2");
        assert_eq!(names.after(b"/a"), "/a#3");
        assert_eq!(names.after(b"/b=c\n"), "/b\\075c\\012");
        assert_eq!(names.root(), "root");
    }
}
