//! The directories that hold files which a later entry may link to.
//!
//! Kind: pure. A directory is known by its name and its parent, and forgotten with
//! the last file or directory that needs it, so deep trees cost no more than their names.

use crux_image::contents::Name;

/// A directory beneath the root; the root itself is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryId(usize);

#[derive(Debug)]
struct Directory {
    name: Name,
    parent: Option<DirectoryId>,
    users: usize,
}

/// The directories known.
#[derive(Debug, Default)]
pub(super) struct Directories {
    known: Vec<Option<Directory>>,
    free: Vec<usize>,
}

impl Directories {
    /// Makes a directory known, with one user.
    pub(super) fn add(&mut self, parent: Option<DirectoryId>, name: Name) -> DirectoryId {
        self.retain(parent);
        let directory = Some(Directory {
            name,
            parent,
            users: 1,
        });
        match self.free.pop() {
            Some(at) => {
                self.known[at] = directory;
                DirectoryId(at)
            }
            None => {
                self.known.push(directory);
                DirectoryId(self.known.len() - 1)
            }
        }
    }

    /// Adds a user.
    pub(super) fn retain(&mut self, directory: Option<DirectoryId>) {
        if let Some(known) = directory.and_then(|id| self.known[id.0].as_mut()) {
            known.users += 1;
        }
    }

    /// Takes a user away.
    pub(super) fn release(&mut self, directory: Option<DirectoryId>) {
        let mut next = directory;
        while let Some(DirectoryId(at)) = next {
            let Some(known) = &mut self.known[at] else {
                return;
            };
            known.users -= 1;
            if known.users > 0 {
                return;
            }
            next = known.parent;
            self.known[at] = None;
            self.free.push(at);
        }
    }

    /// The names that lead to a directory, outermost first.
    pub(super) fn names(&self, directory: Option<DirectoryId>) -> Vec<&Name> {
        let mut names = Vec::new();
        let mut next = directory;
        while let Some(known) = next.and_then(|id| self.known[id.0].as_ref()) {
            names.push(&known.name);
            next = known.parent;
        }
        names.reverse();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_forgotten_with_their_last_user() {
        let name = |s: &str| Name::new(s).unwrap();
        let mut directories = Directories::default();
        let a = directories.add(None, name("a"));
        let b = directories.add(Some(a), name("b"));
        directories.release(Some(a));
        assert_eq!(directories.names(Some(b)), [&name("a"), &name("b")]);
        directories.retain(Some(b));
        directories.release(Some(b));
        directories.release(Some(b));
        assert!(directories.known.iter().all(Option::is_none));
        assert_eq!(directories.free.len(), 2);
    }
}
