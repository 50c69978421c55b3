//! Contents of the container's own file systems in memory, into the image.
//!
//! Kind: effect. The process goes from namespace to namespace for it: a mount
//! can be cloned only from within its own.

use super::capabilities;
use super::inside;
use super::peel::{PeelError, quiet_clone, quiet_copy};
use super::roots::Roots;
use super::{Collected, DumpError};
use crate::contents::{self, Beneath, ContentsError};
use crate::judge::{ContentsWork, Orphan, Place, SeenMount, View};
use crux_image::contents::{
    ContentsWriter, Entry, FormatError, Metadata, Mode, Name, Section, Timestamp,
};
use crux_image::mounts::OriginIndex;
use crux_image::path::RelPath;
use crux_mount::mountinfo;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What was recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Where.
    pub(crate) sections: Vec<(OriginIndex, Section)>,
    /// How many files are not known, because of what is mounted on them for good.
    pub(crate) covered: u64,
}

/// Records the contents of every file system of `work`, in its order.
pub(crate) fn collect(
    collected: &Collected,
    work: &[ContentsWork],
    writer: &mut ContentsWriter<File>,
) -> Result<Recorded, DumpError> {
    if work.is_empty() {
        return Ok(Recorded::default());
    }
    let pid = collected.processes[0].pid;
    let own = inside::own_directory().map_err(|error| DumpError::Process { pid, error })?;
    let all = || {
        let mut collector = Collector {
            collected,
            entries: by_id(collected),
            holders: holders(collected),
            own,
            here: None,
            covered: 0,
        };
        let section = |work: &ContentsWork| {
            let section = collector.section(work, writer)?;
            Ok::<_, DumpError>((work.origin, section))
        };
        let sections = work.iter().map(section).collect::<Result<_, _>>()?;
        let covered = collector.covered;
        Ok(Recorded { sections, covered })
    };
    collected.home.leave_for(all)?
}

fn by_id(collected: &Collected) -> HashMap<SeenMount, &mountinfo::Entry> {
    let spaces = collected.spaces.iter().enumerate();
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

/// The mounts on which something is mounted.
fn holders(collected: &Collected) -> HashSet<SeenMount> {
    let spaces = collected.spaces.iter().enumerate();
    let parents = spaces.flat_map(|(namespace, space)| {
        let id = |entry: &mountinfo::Entry| entry.parent;
        let parents = space.table.iter().map(id);
        parents.map(move |id| SeenMount { namespace, id })
    });
    parents.collect()
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
    holders: HashSet<SeenMount>,
    /// This thread's directory in /proc: the container's own proc, if it has one, is not to be trusted.
    own: OwnedFd,
    /// Where this thread is.
    here: Option<Here>,
    covered: u64,
}

/// The namespace that a thread is in.
struct Here {
    /// Which of the container's.
    namespace: usize,
    /// The root directory of a quiet copy of it.
    copy: OwnedFd,
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
        let (root, beneath) = self.any(&view.mounts)?;
        let orphans = orphans.iter().map(|orphan| self.orphan(orphan));
        let orphans = orphans.collect::<Result<Vec<_>, _>>()?;
        let borrowed: Vec<_> = orphans
            .iter()
            .map(|(name, fd)| (name.clone(), fd.as_fd()))
            .collect();
        let own = self.own.as_fd();
        let recorded = contents::record(root.as_fd(), beneath, &borrowed, own, writer);
        self.covered += recorded.or_else(|error| {
            if matches!(&error, ContentsError::Call { errno, .. } if *errno == Errno::ACCESS) {
                capabilities::check_files()?;
            }
            Err(DumpError::Contents {
                place: self.place(view.mounts[0]).to_string(),
                error,
            })
        })?;
        Ok(())
    }

    fn orphan(&mut self, orphan: &Orphan) -> Result<(Name, OwnedFd), DumpError> {
        let mount = orphan.mounts[0];
        let failed = |reason: String| DumpError::Reach {
            place: self.place(mount).to_string(),
            reason,
        };
        let name = Name::new(orphan.name.as_bytes()).map_err(|error| failed(error.to_string()))?;
        Ok((name, self.any(&orphan.mounts)?.0))
    }

    /// A clone of any of these mounts: one that a path reaches, or one that was dug out before.
    /// What mounts that are locked onto each of them cover is not known.
    fn any(&mut self, mounts: &[SeenMount]) -> Result<(OwnedFd, Beneath), DumpError> {
        let mut reason = "it cannot be reached".to_owned();
        let mut covered = None;
        for &mount in mounts {
            let Roots {
                hidden, failures, ..
            } = &self.collected.roots[mount.namespace];
            if let Some((clone, beneath)) = hidden.get(&mount.id) {
                let clone = clone.try_clone().map_err(|error| DumpError::Reach {
                    place: self.place(mount).to_string(),
                    reason: format!("dup: {error}"),
                });
                match beneath {
                    Beneath::Nothing => return Ok((clone?, Beneath::Nothing)),
                    Beneath::Mounts => covered = covered.or(Some((clone?, Beneath::Mounts))),
                }
                continue;
            }
            if let Some((_, failure)) = failures.iter().find(|(id, _)| *id == mount.id) {
                reason.clone_from(failure);
                continue;
            }
            match self.clone(mount) {
                Ok((clone, Beneath::Nothing)) => return Ok((clone, Beneath::Nothing)),
                Ok(partly) => covered = covered.or(Some(partly)),
                Err(error) => reason = error,
            }
        }
        covered.ok_or_else(|| DumpError::Reach {
            place: self.place(mounts[0]).to_string(),
            reason,
        })
    }

    /// The mount itself in a quiet copy of its namespace, or a quiet clone of it.
    fn clone(&mut self, mount: SeenMount) -> Result<(OwnedFd, Beneath), String> {
        let collected = self.collected;
        let (entry, fact) = (self.entries[&mount], collected.facts.get(&mount.id));
        let has_mounts = self.holders.contains(&mount);
        let is_owned = collected.spaces[mount.namespace].owner.is_some();
        let copy = self.go(mount.namespace)?;
        let fact = fact.ok_or("its root was not looked at")?;
        let root = super::roots::counterpart(copy, entry, fact)?;
        if !has_mounts {
            return Ok((root, Beneath::Nothing));
        }
        match quiet_clone(&root) {
            Ok(clone) => Ok((clone, Beneath::Nothing)),
            // KERNEL: no mount is cloned without what is locked onto it (`has_locked_children`).
            Err(PeelError::Sys(error)) if is_owned && error.errno() == Errno::INVAL => {
                Ok((root, Beneath::Mounts))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Goes to a quiet copy of a namespace; the root directory there.
    fn go(&mut self, namespace: usize) -> Result<BorrowedFd<'_>, String> {
        let here = match self.here.take() {
            Some(here) if here.namespace == namespace => here,
            _ => {
                let process = &self.collected.processes[namespace];
                let copy = quiet_copy(process, &self.own).map_err(|error| error.to_string())?;
                Here { namespace, copy }
            }
        };
        Ok(self.here.insert(here).copy.as_fd())
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
