//! Parts of a mount in words.
//!
//! Kind: pure.

use super::GroupNumbers;
use crate::mounts::{
    Atime, External, FileKind, FsOption, GroupLink, KernelFs, Lock, Master, Mount, MountAttributes,
    Mounts, Origin, OriginIndex, Propagation, SuperblockFlags, Wish,
};
use crate::path::Escaped;

/// As mount(8) has it: `rw,nosuid`. relatime is the default and not said.
pub(crate) fn attributes(attributes: &MountAttributes) -> String {
    let flags = [
        (attributes.nosuid, "nosuid"),
        (attributes.nodev, "nodev"),
        (attributes.noexec, "noexec"),
        (attributes.nosymfollow, "nosymfollow"),
        (attributes.nodiratime, "nodiratime"),
        (attributes.atime == Atime::Noatime, "noatime"),
        (attributes.atime == Atime::Strict, "strictatime"),
        (attributes.idmap.is_some(), "idmapped"),
    ];
    joined(read_write(attributes.readonly), &flags)
}

/// The attributes, and what of the mount is locked.
pub(crate) fn attributes_and_lock(mount: &Mount) -> String {
    let attributes = attributes(&mount.attributes);
    match mount.lock {
        Lock::Free => attributes,
        lock => format!("{attributes} ({lock})"),
    }
}

pub(crate) fn read_write(readonly: bool) -> &'static str {
    if readonly { "ro" } else { "rw" }
}

pub(crate) fn superblock(flags: SuperblockFlags) -> String {
    let words = [
        (flags.sync, "sync"),
        (flags.dirsync, "dirsync"),
        (flags.lazytime, "lazytime"),
    ];
    joined(read_write(flags.readonly), &words)
}

fn joined(first: &str, flags: &[(bool, &str)]) -> String {
    let set = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word);
    std::iter::once(first)
        .chain(set)
        .collect::<Vec<_>>()
        .join(",")
}

/// Superblock flags (rw is not said) and options, as mountinfo shows them.
pub(crate) fn superblock_options(flags: SuperblockFlags, options: &[FsOption]) -> String {
    let flags = superblock(flags);
    let flags = flags.strip_prefix("rw").unwrap_or(&flags);
    let flags = flags.strip_prefix(',').unwrap_or(flags);
    let mut words: Vec<String> = Vec::new();
    if !flags.is_empty() {
        words.push(flags.to_owned());
    }
    words.extend(options.iter().map(option));
    words.join(",")
}

pub(crate) fn option(option: &FsOption) -> String {
    match &option.value {
        None => option.key.clone(),
        Some(value) => format!("{}={}", option.key, Escaped(value)),
    }
}

pub(crate) fn kind(kind: FileKind) -> String {
    match kind {
        FileKind::Directory => "directory".into(),
        FileKind::Regular => "file".into(),
        FileKind::Symlink => "symbolic link".into(),
        FileKind::CharDevice { major, minor } => format!("character device {major}:{minor}"),
        FileKind::BlockDevice { major, minor } => format!("block device {major}:{minor}"),
        FileKind::Fifo => "fifo".into(),
        FileKind::Socket => "socket".into(),
    }
}

/// The type of the file system behind a mount.
pub(crate) fn fs_type(origin: &Origin) -> String {
    match origin {
        Origin::Own(own) => own.fs_type.name().into(),
        Origin::External(external) => Escaped(external.fs_type.as_bytes()).to_string(),
    }
}

/// Source, and which part of it: `none`, `proc[/sys/net]`, `external root`.
pub(crate) fn source(mount: &Mount, origin: &Origin) -> String {
    let mut words = match origin {
        Origin::Own(own) if own.source.is_empty() => "\"\"".to_owned(),
        Origin::Own(own) => Escaped(&own.source).to_string(),
        Origin::External(external) => format!("external {}", external_name(external)),
    };
    if !mount.root.is_root() {
        words.push_str(&format!("[{}]", mount.root));
    }
    if mount.deleted {
        words.push_str(" deleted");
        if let Some(former) = &mount.former {
            words.push_str(&format!(" {former}"));
        }
    }
    if !mount.kind.is_directory() {
        words.push_str(&format!(" ({})", kind(mount.kind)));
    }
    words
}

pub(crate) fn external_name(external: &External) -> String {
    Escaped(external.name.as_bytes()).to_string()
}

pub(crate) fn wish(wish: &Wish) -> String {
    match wish {
        Wish::Path(path) => path.to_string(),
        Wish::Kernel { fs, options } if options.is_empty() => {
            format!("a new {} mount", KernelFs::name(*fs))
        }
        Wish::Kernel { fs, options } => {
            let options: Vec<String> = options.iter().map(option).collect();
            format!("a new {} mount ({})", fs.name(), options.join(","))
        }
    }
}

/// An outside peer group, by the name of the grant that stands for it.
pub(crate) fn outside(mounts: &Mounts, origin: OriginIndex) -> String {
    match &mounts.origins[origin.at()] {
        Origin::External(external) => format!("outside {}", external_name(external)),
        Origin::Own(_) => "outside".into(),
    }
}

pub(crate) fn master(mounts: &Mounts, numbers: &GroupNumbers, master: Master) -> String {
    match master {
        Master::Group(group) => format!("slave of shared({})", numbers.of(group)),
        Master::Outside(origin) => format!("slave of {}", outside(mounts, origin)),
    }
}

/// `private`, `shared(3) slave of outside /sys/fs/pstore`.
pub(crate) fn propagation(mounts: &Mounts, numbers: &GroupNumbers, of: Propagation) -> String {
    match of {
        Propagation::Private => "private".into(),
        Propagation::Unbindable => "unbindable".into(),
        Propagation::Slave(of) => master(mounts, numbers, of),
        Propagation::Shared(group) => {
            let shared = format!("shared({})", numbers.of(group));
            match link(mounts, numbers, mounts.groups[group.at()].link) {
                None => shared,
                Some(link) => format!("{shared} {link}"),
            }
        }
    }
}

pub(crate) fn link(mounts: &Mounts, numbers: &GroupNumbers, link: GroupLink) -> Option<String> {
    match link {
        GroupLink::None => None,
        GroupLink::SlaveOf(of) => Some(master(mounts, numbers, of)),
        GroupLink::PeerOfOutside(origin) => Some(format!("with {}", outside(mounts, origin))),
    }
}

/// `1 mount`, `2 mounts`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
