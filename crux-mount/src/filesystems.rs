//! The table of file systems: how each is dumped and restored, and why.
//!
//! Kind: pure. One row for each type that crux knows; a type without a row is
//! refused by name. `docs/filesystems.md` is printed from here.

use crux_image::mounts::{FsOption, KernelFs, OwnFsType};
use std::fmt::Write as _;

/// How a file system is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A superblock that the restore can make anew, if it is the container's own.
    Own(OwnFsType),
    /// The kernel has one for the whole machine: external, even where the
    /// container mounted it itself. With no path on the host it is mounted.
    KernelGlobal(KernelFs),
    /// Always external: its contents are on a device, a server or in a program.
    ExternalOnly,
    /// Cannot be restored at all.
    Refused,
}

/// How an option of a superblock is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// By fsconfig(2), word for word.
    Fsconfig,
    /// Not at all: the security policy of the machine that restores decides.
    Policy,
    /// It cannot be: the mount is refused.
    Refuse(&'static str),
}

/// An option that a file system may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionRule {
    /// The name in mountinfo.
    pub key: &'static str,
    /// How it is brought back.
    pub restore: Restore,
}

/// One file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The kernel's name.
    pub name: &'static str,
    /// How it is treated.
    pub class: Class,
    /// Why.
    pub why: &'static str,
    /// Its options; looked at only for [`Class::Own`].
    pub options: &'static [OptionRule],
}

const fn plain(key: &'static str) -> OptionRule {
    OptionRule {
        key,
        restore: Restore::Fsconfig,
    }
}

const fn refuse(key: &'static str, why: &'static str) -> OptionRule {
    OptionRule {
        key,
        restore: Restore::Refuse(why),
    }
}

const fn own(
    kind: OwnFsType,
    name: &'static str,
    why: &'static str,
    options: &'static [OptionRule],
) -> Row {
    Row {
        name,
        class: Class::Own(kind),
        why,
        options,
    }
}

const fn global(fs: KernelFs, name: &'static str, why: &'static str) -> Row {
    Row {
        name,
        class: Class::KernelGlobal(fs),
        why,
        options: &[],
    }
}

const fn external(name: &'static str, why: &'static str) -> Row {
    Row {
        name,
        class: Class::ExternalOnly,
        why,
        options: &[],
    }
}

const QUOTA: &str = "its limits for each user are not in any mount table";
const DEVICE: &str = "its files are on a block device, which stays with the host";
const NETWORK: &str = "its files are on a server";

/// Options that any superblock may show (`super_block` flags and security modules).
const COMMON: &[OptionRule] = &[
    plain("mand"),
    OptionRule {
        key: "seclabel",
        restore: Restore::Policy,
    },
    refuse(
        "context",
        "labels of a security module are not restored yet",
    ),
    refuse(
        "fscontext",
        "labels of a security module are not restored yet",
    ),
    refuse(
        "defcontext",
        "labels of a security module are not restored yet",
    ),
    refuse(
        "rootcontext",
        "labels of a security module are not restored yet",
    ),
];

const TMPFS: &[OptionRule] = &[
    plain("size"),
    plain("nr_blocks"),
    plain("nr_inodes"),
    plain("mode"),
    plain("uid"),
    plain("gid"),
    plain("huge"),
    plain("mpol"),
    plain("inode32"),
    plain("inode64"),
    plain("noswap"),
    refuse("quota", QUOTA),
    refuse("usrquota", QUOTA),
    refuse("grpquota", QUOTA),
];
const RAMFS: &[OptionRule] = &[plain("mode")];
const PROC: &[OptionRule] = &[plain("hidepid"), plain("gid"), plain("subset")];
const DEVPTS: &[OptionRule] = &[
    plain("newinstance"),
    plain("uid"),
    plain("gid"),
    plain("mode"),
    plain("ptmxmode"),
    plain("max"),
];
const HUGETLBFS: &[OptionRule] = &[
    plain("pagesize"),
    plain("size"),
    plain("min_size"),
    plain("nr_inodes"),
    plain("mode"),
    plain("uid"),
    plain("gid"),
];
const BPF: &[OptionRule] = &[
    plain("mode"),
    plain("uid"),
    plain("gid"),
    plain("delegate_cmds"),
    plain("delegate_maps"),
    plain("delegate_progs"),
    plain("delegate_attachs"),
];

/// Every file system that crux knows.
pub const TABLE: &[Row] = &[
    own(
        OwnFsType::Tmpfs,
        "tmpfs",
        "made anew; its files are in the image",
        TMPFS,
    ),
    own(
        OwnFsType::Ramfs,
        "ramfs",
        "made anew; its files are in the image",
        RAMFS,
    ),
    own(
        OwnFsType::Proc,
        "proc",
        "made anew, for the pid namespace of whoever restores",
        PROC,
    ),
    own(
        OwnFsType::Sysfs,
        "sysfs",
        "one for each net namespace: made in that of the container",
        &[],
    ),
    own(
        OwnFsType::Devpts,
        "devpts",
        "a new instance, with the ptys that mounts show",
        DEVPTS,
    ),
    own(
        OwnFsType::Mqueue,
        "mqueue",
        "one for each ipc namespace; its queues are made anew; messages in them are refused, as they cannot be read without taking them",
        &[],
    ),
    own(
        OwnFsType::Hugetlbfs,
        "hugetlbfs",
        "made anew if it is empty; pages of a pool are not recorded yet",
        HUGETLBFS,
    ),
    own(
        OwnFsType::Bpf,
        "bpf",
        "made anew if it is empty; programs and maps pinned in it cannot be read back",
        BPF,
    ),
    global(KernelFs::Debugfs, "debugfs", "shows the whole machine"),
    global(KernelFs::Tracefs, "tracefs", "shows the whole machine"),
    global(
        KernelFs::Securityfs,
        "securityfs",
        "shows the whole machine's security modules",
    ),
    global(KernelFs::Pstore, "pstore", "crash records of the machine"),
    global(
        KernelFs::Fusectl,
        "fusectl",
        "connections of every fuse file system of the machine",
    ),
    global(
        KernelFs::Configfs,
        "configfs",
        "configures drivers of the machine",
    ),
    global(
        KernelFs::Efivarfs,
        "efivarfs",
        "firmware variables of the machine",
    ),
    global(
        KernelFs::BinfmtMisc,
        "binfmt_misc",
        "interpreters of the machine (one for each user namespace since 6.7)",
    ),
    global(
        KernelFs::Cgroup,
        "cgroup",
        "a hierarchy is one for the machine; the container shows a part of it",
    ),
    global(
        KernelFs::Cgroup2,
        "cgroup2",
        "the hierarchy is one for the machine; the container shows a part of it",
    ),
    global(
        KernelFs::Devtmpfs,
        "devtmpfs",
        "device nodes of the machine",
    ),
    external("overlay", "its layers are directories of the host"),
    external("ext2", DEVICE),
    external("ext3", DEVICE),
    external("ext4", DEVICE),
    external("xfs", DEVICE),
    external("btrfs", DEVICE),
    external("f2fs", DEVICE),
    external("bcachefs", DEVICE),
    external("zfs", DEVICE),
    external("jfs", DEVICE),
    external("reiserfs", DEVICE),
    external("nilfs2", DEVICE),
    external("vfat", DEVICE),
    external("msdos", DEVICE),
    external("exfat", DEVICE),
    external("ntfs", DEVICE),
    external("ntfs3", DEVICE),
    external("iso9660", DEVICE),
    external("udf", DEVICE),
    external("squashfs", DEVICE),
    external("erofs", DEVICE),
    external("cramfs", DEVICE),
    external("romfs", DEVICE),
    external("fuse", "its files are in a program"),
    external("fuseblk", "its files are in a program, on a device"),
    external(
        "virtiofs",
        "its files are on the host of the virtual machine",
    ),
    external("9p", NETWORK),
    external("nfs", NETWORK),
    external("nfs4", NETWORK),
    external("cifs", NETWORK),
    external("smb3", NETWORK),
    external("ceph", NETWORK),
    external("afs", NETWORK),
    external(
        "nsfs",
        "a namespace kept alive by a mount: which one to pin is for the operator to say",
    ),
    external("rpc_pipefs", "ends in daemons of the host"),
    external("nfsd", "controls the host's server"),
    external("selinuxfs", "the machine's security policy"),
    external("smackfs", "the machine's security policy"),
    external("resctrl", "resource control of the machine"),
    external("rootfs", "the first root file system of the machine"),
    Row {
        name: "autofs",
        class: Class::Refused,
        why: "a daemon holds the other end of its pipe and would not know the copy",
        options: &[],
    },
    Row {
        name: "cpuset",
        class: Class::Refused,
        why: "the old name of a cgroup v1 hierarchy, which the kernel mounts under other options",
        options: &[],
    },
];

/// The row of a type; a subtype (`fuse.sshfs`) has that of its type.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    let main = name.split(|&b| b == b'.').next().unwrap_or(name);
    TABLE.iter().find(|row| row.name.as_bytes() == main)
}

/// Why an option cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionRefusal {
    /// Nothing is known of it.
    Unknown,
    /// It is known, and this is why not.
    Known(&'static str),
}

impl Row {
    /// How an option is brought back, or why it is not. `None`: leave it out.
    pub fn option(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<FsOption>, OptionRefusal> {
        let rule = self
            .options
            .iter()
            .chain(COMMON)
            .find(|rule| rule.key.as_bytes() == key);
        match rule {
            None => Err(OptionRefusal::Unknown),
            Some(OptionRule {
                restore: Restore::Refuse(why),
                ..
            }) => Err(OptionRefusal::Known(why)),
            Some(OptionRule {
                restore: Restore::Policy,
                ..
            }) => Ok(None),
            Some(OptionRule {
                restore: Restore::Fsconfig,
                key,
            }) => Ok(Some(FsOption {
                key: (*key).to_owned(),
                value: value.map(<[u8]>::to_vec),
            })),
        }
    }
}

/// Options with which a hierarchy of cgroup v1 is found again: its controllers and its name.
/// The others (`release_agent`, `clone_children`) belong to the host and stay as they are there.
pub fn cgroup_hierarchy_option(key: &[u8]) -> bool {
    const CONTROLLERS: [&str; 15] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
        "misc",
        "name",
    ];
    CONTROLLERS.iter().any(|known| known.as_bytes() == key)
}

/// The table as Markdown: the text of `docs/filesystems.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# File systems\n\nPrinted from `crux-mount/src/filesystems.rs`; a test compares the two.\n\n\
         | type | treated as | why | options brought back | options refused |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let keys = |wanted: fn(Restore) -> bool| {
            let found: Vec<_> = row
                .options
                .iter()
                .filter(|o| wanted(o.restore))
                .map(|o| o.key)
                .collect();
            found.join(", ")
        };
        let brought_back = keys(|r| r == Restore::Fsconfig);
        let refused = keys(|r| matches!(r, Restore::Refuse(_)));
        let class = row.class.in_words();
        let _ = writeln!(
            text,
            "| {} | {class} | {} | {brought_back} | {refused} |",
            row.name, row.why
        );
    }
    text.push_str(
        "\nOptions of every type: `seclabel` is left to the policy of the machine that restores; \
         `mand` does nothing since Linux 5.15 and is brought back; `context=` and its kin are refused. \
         An option or a type that is not listed is refused by name.\n",
    );
    text
}

impl Class {
    fn in_words(self) -> &'static str {
        match self {
            Self::Own(_) => "the container's own, unless it is seen outside",
            Self::KernelGlobal(_) => "external, or mounted from the kernel",
            Self::ExternalOnly => "external",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/filesystems.md");
        let document = std::fs::read_to_string(path).unwrap();
        assert!(
            document == markdown(),
            "docs/filesystems.md should be:\n{}",
            markdown()
        );
    }

    #[test]
    fn every_recorded_type_has_a_row_of_its_name() {
        for kind in OwnFsType::ALL {
            assert_eq!(
                find(kind.name().as_bytes()).unwrap().class,
                Class::Own(kind)
            );
        }
        for kind in KernelFs::ALL {
            assert_eq!(
                find(kind.name().as_bytes()).unwrap().class,
                Class::KernelGlobal(kind)
            );
        }
    }

    #[test]
    fn no_type_has_two_rows() {
        let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn subtypes_are_treated_as_their_type() {
        assert_eq!(find(b"fuse.sshfs").unwrap().name, "fuse");
        assert!(find(b"somefs").is_none());
    }

    #[test]
    fn options_are_known_refused_or_left_to_policy() {
        let tmpfs = find(b"tmpfs").unwrap();
        let size = FsOption {
            key: "size".into(),
            value: Some(b"4k".to_vec()),
        };
        assert_eq!(tmpfs.option(b"size", Some(b"4k")), Ok(Some(size)));
        assert_eq!(tmpfs.option(b"seclabel", None), Ok(None));
        assert_eq!(
            tmpfs.option(b"usrquota", None),
            Err(OptionRefusal::Known(QUOTA))
        );
        assert_eq!(
            tmpfs.option(b"frobnicate", None),
            Err(OptionRefusal::Unknown)
        );
    }
}
