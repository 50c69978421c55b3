//! Random tables on the real kernel: what is planned, executed and read back is what was
//! recorded. The same strategies feed the simulator's own property test, which
//! keeps the model honest.

mod private;

use crux_image::mounts::{
    Contents, FileKind, GroupLink, Master, Mounts, Origin, OriginIndex, OwnFileSystem, OwnFsType,
    Propagation,
};
use crux_image::path::RelPath;
use crux_mount::arbitrary;
use crux_mount::exec::{Built, Pinning, Setup, Source, execute};
use crux_mount::ids::PeerGroupId;
use crux_mount::mountinfo::{self, Entry};
use crux_mount::plan::{Step, plan};
use crux_mount::verify::{External, verify};
use crux_mount::{simulate, sys};
use private::{in_private_namespace, tmpfs_at, tmpfs_takes_id_maps};
use proptest::prelude::*;
use rustix::fs::{FileType, Mode, makedev, mkdirat, mknodat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150, failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default()
    })]

    #[test]
    fn root_random_tables_are_rebuilt(recorded in arbitrary::mounts()) {
        let mut recorded = recorded;
        with_files_of_our_own(&mut recorded);
        if !ID_MAPS.get_or_init(tmpfs_takes_id_maps) {
            without_id_maps(&mut recorded);
        }
        in_private_namespace(move |scratch| {
            rebuild(&recorded, &scratch).unwrap_or_else(|cause| panic!("{cause}"));
        });
    }
}

static ID_MAPS: OnceLock<bool> = OnceLock::new();

fn without_id_maps(mounts: &mut Mounts) {
    for namespace in &mut mounts.namespaces {
        for mount in &mut namespace.mounts {
            mount.attributes.idmap = None;
        }
    }
}

/// Random names exist only in file systems that can hold any.
fn with_files_of_our_own(mounts: &mut Mounts) {
    for origin in &mut mounts.origins {
        match origin {
            Origin::Own(own) => {
                own.fs_type = OwnFsType::Tmpfs;
                own.contents = Contents::Kernel;
            }
            Origin::External(external) => external.wish = None,
        }
    }
}

type Names = BTreeMap<RelPath, FileKind>;

fn rebuild(recorded: &Mounts, scratch: &OwnedFd) -> Result<(), String> {
    let plan = plan(recorded).map_err(|error| error.to_string())?;
    simulate::simulate(recorded, plan.steps()).map_err(|error| error.to_string())?;
    let names = names(recorded);
    // The executor leaves this namespace: it would go, and with it the groups outside.
    let _alive = std::fs::File::open("/proc/thread-self/ns/mnt").map_err(|e| e.to_string())?;
    let host = HostSide::make(recorded, &names, scratch)?;
    let mut made = plan.steps().filter_map(|step| match step {
        Step::Create { origin, .. } => Some(*origin),
        _ => None,
    });
    let mut fill = |_: &OwnFileSystem, root: BorrowedFd<'_>| {
        let origin = made.next().ok_or("none left")?;
        make_names(root, &names[origin.at()])
    };
    let setup = Setup {
        mounts: recorded,
        sources: host.sources,
        outside: host.outside,
        pinning: Pinning::NotWanted,
        descriptors: 1024,
        born: Default::default(),
        without_setgroups: Vec::new(),
        fill: &mut fill,
    };
    let built = execute(&plan, setup).map_err(|error| format!("{error}\n{plan}"))?;
    let tables = tables(&built)?;
    verify(recorded, &host.facts, &tables).map_err(|differences| {
        let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
        let table: Vec<_> = tables.iter().map(|t| mountinfo::format(t)).collect();
        let table = String::from_utf8_lossy(&table.concat()).into_owned();
        format!("{}\n{plan}\n{table}", lines.join("\n"))
    })
}

/// What has to exist in each origin: roots of mounts, and mountpoints.
fn names(mounts: &Mounts) -> Vec<Names> {
    let mut names = vec![Names::new(); mounts.origins.len()];
    for namespace in &mounts.namespaces {
        for mount in &namespace.mounts {
            if let Some(parent) = mount.parent.map(|parent| &namespace.mounts[parent.at()]) {
                let place = parent.root.join(&mount.mountpoint);
                let kind = if mount.kind.is_directory() {
                    FileKind::Directory
                } else {
                    FileKind::Regular
                };
                names[parent.origin.at()].entry(place).or_insert(kind);
            }
        }
    }
    for mount in mounts
        .namespaces
        .iter()
        .flat_map(|namespace| &namespace.mounts)
    {
        names[mount.origin.at()].insert(mount.root.clone(), mount.kind);
    }
    names
}

fn make_names(root: BorrowedFd<'_>, names: &Names) -> Result<(), String> {
    for (name, kind) in names.iter().filter(|(name, _)| !name.is_root()) {
        let (above, last) = name.split_last().expect("not the root");
        let mut directory = root.try_clone_to_owned().map_err(|e| e.to_string())?;
        for component in above.components() {
            make(directory.as_fd(), component, FileKind::Directory)?;
            directory = sys::open_beneath(
                directory.as_fd(),
                &RelPath::new(component).unwrap(),
                sys::Open::Directory,
            )
            .map_err(|e| e.to_string())?;
        }
        make(directory.as_fd(), last, *kind)?;
    }
    Ok(())
}

fn make(directory: BorrowedFd<'_>, name: &[u8], kind: FileKind) -> Result<(), String> {
    let (kind, device) = match kind {
        FileKind::Directory => (FileType::Directory, 0),
        FileKind::CharDevice { major, minor } => (FileType::CharacterDevice, makedev(major, minor)),
        FileKind::Fifo => (FileType::Fifo, 0),
        _ => (FileType::RegularFile, 0),
    };
    let made = match kind {
        FileType::Directory => mkdirat(directory, name, Mode::RWXU),
        _ => mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device),
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(format!("make {}: {errno}", String::from_utf8_lossy(name))),
    }
}

/// Sources of external origins: a shared tmpfs each, and in it what is granted.
struct HostSide {
    sources: Vec<Option<Source>>,
    outside: Vec<Option<OwnedFd>>,
    facts: Vec<Option<External>>,
}

impl HostSide {
    fn make(mounts: &Mounts, names: &[Names], scratch: &OwnedFd) -> Result<Self, String> {
        let text = |error: sys::SysError| error.to_string();
        let mut host = Self {
            sources: vec![],
            outside: vec![],
            facts: vec![],
        };
        for (at, origin) in mounts.origins.iter().enumerate() {
            let Origin::External(external) = origin else {
                host.sources.push(None);
                host.outside.push(None);
                host.facts.push(None);
                continue;
            };
            let mount = tmpfs_at(scratch, &format!("o{at}"));
            make(mount.as_fd(), b"source", external.kind)?;
            let source = sys::open_beneath(
                mount.as_fd(),
                &RelPath::new("source").unwrap(),
                sys::Open::Any,
            )
            .map_err(text)?;
            if external.kind.is_directory() {
                make_names(source.as_fd(), &names[at])?;
            }
            let joined = joins(mounts, at.into());
            if joined {
                sys::mount_setattr(mount.as_fd(), 0, 0, libc::MS_SHARED, None).map_err(text)?;
            }
            let entry = entry_of(&mount)?;
            host.facts.push(Some(External {
                device: Some(entry.device),
                root: b"/source".to_vec(),
                group: entry.shared.filter(|_| joined),
            }));
            host.sources.push(Some(Source::Path(source)));
            host.outside.push(joined.then_some(mount));
        }
        host.share_groups(mounts)?;
        Ok(host)
    }

    /// Members of one group outside have sources of one group. Theirs are several file
    /// systems here, so such tables cannot be: see the strategies.
    fn share_groups(&mut self, mounts: &Mounts) -> Result<(), String> {
        let mut seen: BTreeMap<u32, PeerGroupId> = BTreeMap::new();
        for mount in mounts
            .namespaces
            .iter()
            .flat_map(|namespace| &namespace.mounts)
        {
            if let Propagation::Shared(group) = mount.propagation
                && let GroupLink::PeerOfOutside(_) = mounts.groups[group.at()].link
                && let Some(Some(External {
                    group: Some(live), ..
                })) = self.facts.get(mount.origin.at())
                && *seen.entry(group.0).or_insert(*live) != *live
            {
                return Err(format!("group {} has members of two origins", group.0));
            }
        }
        Ok(())
    }
}

fn joins(mounts: &Mounts, origin: OriginIndex) -> bool {
    mounts
        .namespaces
        .iter()
        .flat_map(|namespace| &namespace.mounts)
        .any(|mount| match mount.propagation {
            Propagation::Slave(Master::Outside(of)) => of == origin,
            Propagation::Shared(group) => match mounts.groups[group.at()].link {
                GroupLink::PeerOfOutside(_) => mount.origin == origin,
                GroupLink::SlaveOf(Master::Outside(of)) => of == origin,
                _ => false,
            },
            _ => false,
        })
}

fn entry_of(mount: &OwnedFd) -> Result<Entry, String> {
    let id = sys::statx(mount).map_err(|e| e.to_string())?.mount;
    let text = std::fs::read("/proc/thread-self/mountinfo").map_err(|e| e.to_string())?;
    let entries = mountinfo::parse(&text).map_err(|e| e.to_string())?;
    entries
        .into_iter()
        .find(|entry| entry.id == id)
        .ok_or_else(|| "not in the table".to_owned())
}

fn tables(built: &Built) -> Result<Vec<Vec<Entry>>, String> {
    let read = |fd: &OwnedFd| {
        let mut text = Vec::new();
        let file = fd.try_clone().map(std::fs::File::from);
        file.and_then(|mut file| file.read_to_end(&mut text))
            .map_err(|e| e.to_string())?;
        mountinfo::parse(&text).map_err(|e| e.to_string())
    };
    built
        .namespaces
        .iter()
        .map(|namespace| read(&namespace.table))
        .collect()
}
