//! Contents of the container's own file systems in memory, into the image.
//!
//! Kind: effect. All of it runs in one thread that goes from namespace to
//! namespace: a mount can be cloned only from within its own.

use super::inside;
use super::peel::{Copy, PeelError, quiet_clone};
use super::roots::Roots;
use super::{Collected, DumpError};
use crate::contents;
use crate::judge::{ContentsWork, Orphan, Place, SeenMount, Tree, View};
use crux_image::contents::{
    ContentsWriter, Entry, FormatError, Metadata, Mode, Name, Section, Timestamp,
};
use crux_image::mounts::{FileKind, OriginIndex};
use crux_image::path::RelPath;
use crux_mount::ids::MountId;
use crux_mount::mountinfo;
use crux_mount::sys;
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// Records the contents of every file system of `work`, in its order.
pub fn collect(
    collected: &Collected,
    work: &[ContentsWork],
    writer: &mut ContentsWriter<File>,
) -> Result<Vec<(OriginIndex, Section)>, DumpError> {
    if work.is_empty() {
        return Ok(Vec::new());
    }
    let pid = collected.processes[0].pid;
    let all = || {
        let mut collector = Collector {
            collected,
            entries: by_id(collected),
            here: None,
        };
        work.iter()
            .map(|work| Ok((work.origin, collector.section(work, writer)?)))
            .collect()
    };
    inside::apart(all).map_err(|error| DumpError::Process { pid, error })?
}

fn by_id(collected: &Collected) -> HashMap<SeenMount, &mountinfo::Entry> {
    let spaces = collected.seen.container.iter().enumerate();
    let entries = spaces.flat_map(|(namespace, space)| {
        space.table.iter().map(move |entry| {
            (
                SeenMount {
                    namespace,
                    id: entry.id,
                },
                entry,
            )
        })
    });
    entries.collect()
}

/// The directories above parts of a file system whose root no mount shows. Nobody can see them, so
/// nothing is known of them but their names.
#[derive(Default)]
struct Parents {
    /// Those that are entered, outermost first; the root aside.
    open: Vec<Vec<u8>>,
}

impl Parents {
    /// Leaves and enters directories until `path` was entered.
    fn go(&mut self, path: &RelPath, writer: &mut ContentsWriter<File>) -> Result<(), DumpError> {
        let names: Vec<&[u8]> = path.components().collect();
        let shared = self
            .open
            .iter()
            .zip(&names)
            .take_while(|(open, name)| open == *name)
            .count();
        while self.open.len() > shared {
            writer.push(&Entry::Leave(UNKNOWN))?;
            self.open.pop();
        }
        for &name in &names[shared..] {
            let entered = Name::new(name).map_err(|_| FormatError::Order("a part has no name"))?;
            writer.push(&Entry::Enter(entered))?;
            self.open.push(name.to_vec());
        }
        Ok(())
    }

    /// The innermost was left by whoever recorded what is in it.
    fn left(&mut self) {
        self.open.pop();
    }

    fn finish(self, writer: &mut ContentsWriter<File>) -> Result<(), DumpError> {
        for _ in 0..=self.open.len() {
            writer.push(&Entry::Leave(UNKNOWN))?;
        }
        Ok(())
    }
}

const UNKNOWN: Metadata = Metadata {
    uid: 0,
    gid: 0,
    mode: Mode(0o755),
    accessed: Timestamp {
        seconds: 0,
        nanoseconds: 0,
    },
    modified: Timestamp {
        seconds: 0,
        nanoseconds: 0,
    },
};

struct Collector<'a> {
    collected: &'a Collected,
    entries: HashMap<SeenMount, &'a mountinfo::Entry>,
    /// The copy of a namespace that this thread is in.
    here: Option<Here>,
}

/// A copy of a namespace of the container.
struct Here {
    namespace: usize,
    tree: Tree,
    nodes: HashMap<MountId, usize>,
    copy: Copy,
}

impl Here {
    fn new(collected: &Collected, namespace: usize) -> Result<Self, String> {
        let space = &collected.seen.container[namespace];
        let tree = Tree::new(space.pid, &space.table).map_err(|error| error.to_string())?;
        let nodes = tree
            .nodes
            .iter()
            .enumerate()
            .map(|(at, node)| (space.table[node.entry].id, at))
            .collect();
        let copy = Copy::new(&collected.processes[namespace]).map_err(|error| error.to_string())?;
        copy.make_quiet().map_err(|error| error.to_string())?;
        Ok(Self {
            namespace,
            tree,
            nodes,
            copy,
        })
    }

    fn open(&self, id: MountId) -> Result<OwnedFd, PeelError> {
        let found = self
            .nodes
            .get(&id)
            .and_then(|&node| self.tree.counterpart(node, &self.copy.tree));
        let node = found.ok_or(PeelError::Copy("does not have it"))?;
        let root = self.copy.open(node)?;
        // What is mounted on it would hide a part.
        match self.copy.tree.has_children(node) {
            true => quiet_clone(&root),
            false => Ok(root),
        }
    }
}

impl Collector<'_> {
    fn section(
        &mut self,
        work: &ContentsWork,
        writer: &mut ContentsWriter<File>,
    ) -> Result<Section, DumpError> {
        writer.begin_section()?;
        match &work.views[..] {
            [whole] if whole.root.is_root() => self.whole(whole, &work.orphans, writer)?,
            parts => {
                let mut parents = Parents::default();
                for part in parts {
                    parents.go(&part.root, writer)?;
                    self.whole(part, &[], writer)?;
                    parents.left();
                }
                parents.finish(writer)?;
            }
        }
        Ok(writer.finish_section()?)
    }

    /// Records what one view shows, into the directory that is entered.
    fn whole(
        &mut self,
        view: &View,
        orphans: &[Orphan],
        writer: &mut ContentsWriter<File>,
    ) -> Result<(), DumpError> {
        let root = self.any(&view.mounts)?;
        let orphans = orphans.iter().map(|orphan| self.orphan(orphan));
        let orphans = orphans.collect::<Result<Vec<_>, _>>()?;
        let borrowed: Vec<_> = orphans
            .iter()
            .map(|(name, fd)| (name.clone(), fd.as_fd()))
            .collect();
        contents::record(root.as_fd(), &borrowed, writer).map_err(|error| DumpError::Contents {
            place: self.place(view.mounts[0]).to_string(),
            error,
        })
    }

    fn orphan(&mut self, orphan: &Orphan) -> Result<(Name, OwnedFd), DumpError> {
        let mount = orphan.mounts[0];
        let failed = |reason: String| DumpError::Reach {
            place: self.place(mount).to_string(),
            reason,
        };
        let name = Name::new(orphan.name.as_bytes()).map_err(|error| failed(error.to_string()))?;
        let fact = self.collected.seen.roots.get(&mount.id);
        // Without a proc of ours in reach, a regular file has to be opened for reading at once.
        match fact.map(|fact| fact.kind) {
            Some(FileKind::Regular) => Ok((name, self.open_file(mount)?)),
            _ => Ok((name, self.any(&orphan.mounts)?)),
        }
    }

    fn open_file(&mut self, mount: SeenMount) -> Result<OwnedFd, DumpError> {
        let process = &self.collected.processes[mount.namespace];
        let failed = |reason: String| DumpError::Reach {
            place: self.place(mount).to_string(),
            reason,
        };
        let path = RelPath::from_absolute(&self.entries[&mount].mountpoint);
        let path = path.map_err(|error| failed(error.to_string()))?;
        let access = OFlags::RDONLY | OFlags::NOATIME | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = inside::open_with(process.root.as_fd(), &path, access);
        let fd = fd.map_err(|error| failed(error.to_string()))?;
        let stat = sys::statx(&fd).map_err(|error| failed(error.to_string()))?;
        match stat.mount == mount.id {
            true => Ok(fd),
            false => Err(failed("another mount hides it".to_owned())),
        }
    }

    /// A clone of any of these mounts: one that a path reaches, or one that was dug out before.
    fn any(&mut self, mounts: &[SeenMount]) -> Result<OwnedFd, DumpError> {
        let mut reason = "it cannot be reached".to_owned();
        for &mount in mounts {
            let Roots {
                hidden, failures, ..
            } = &self.collected.roots[mount.namespace];
            if let Some(clone) = hidden.get(&mount.id) {
                return clone.try_clone().map_err(|error| DumpError::Reach {
                    place: self.place(mount).to_string(),
                    reason: format!("dup: {error}"),
                });
            }
            if let Some((_, failure)) = failures.iter().find(|(id, _)| *id == mount.id) {
                reason.clone_from(failure);
                continue;
            }
            match self.copied(mount) {
                Ok(clone) => return Ok(clone),
                Err(error) => reason = error,
            }
        }
        Err(DumpError::Reach {
            place: self.place(mounts[0]).to_string(),
            reason,
        })
    }

    /// The root of a mount, in a copy of its namespace that nobody shares and that reading does not
    /// change. One copy serves for all: the kernel takes long to end a clone of a single mount, and as long to end
    /// a namespace.
    fn copied(&mut self, mount: SeenMount) -> Result<OwnedFd, String> {
        if self
            .here
            .as_ref()
            .is_none_or(|here| here.namespace != mount.namespace)
        {
            self.here = None;
            self.here = Some(Here::new(self.collected, mount.namespace)?);
        }
        let here = self
            .here
            .as_ref()
            .ok_or("there is no copy of its namespace")?;
        here.open(mount.id).map_err(|error| error.to_string())
    }

    fn place(&self, mount: SeenMount) -> Place {
        let entry = self.entries[&mount];
        Place {
            pid: self.collected.processes[mount.namespace].pid,
            mountpoint: entry.mountpoint.clone(),
            fs_type: entry.fs_type.clone(),
        }
    }
}
