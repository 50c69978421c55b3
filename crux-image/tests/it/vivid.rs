//! The mount table of the request of 2015 (LXC 1.1 on Ubuntu Vivid), as a record.
//!
//! Kind: pure. Shared by the tests and by the example that makes golden images.

use crux_image::inventory::{ImageFacts, ImageId};
use crux_image::mounts::{
    Contents, External, ExternalRole, FileKind, FsOption, KernelFs, Master, Mount, MountAttributes,
    MountIndex, Mounts, Namespace, NamespaceContext, Origin, OriginIndex, OwnFileSystem, OwnFsType,
    Propagation, SuperblockFlags, Wish,
};
use crux_image::path::{HostPath, RelPath};

/// Facts that are the same in every run.
pub(crate) fn facts() -> ImageFacts {
    ImageFacts {
        id: ImageId([0x5a; 16]),
        crux_version: "0.1.0".into(),
        kernel_release: "3.19.0-7-generic".into(),
        architecture: "x86_64".into(),
        created: 1_426_757_696,
        pid: 4711,
        command: b"systemd".to_vec(),
    }
}

/// All 21 mounts.
pub(crate) fn mounts() -> Mounts {
    let mut table = Table::default();
    let root = table.external("root", ExternalRole::Root, "ext4", None);
    let dev = table.own(OwnFsType::Tmpfs, "none", "size=100k,mode=755");
    let proc = table.own(OwnFsType::Proc, "proc", "");
    let sys = table.own(OwnFsType::Sysfs, "sysfs", "");
    let fuse = table.kernel(KernelFs::Fusectl, "/sys/fs/fuse/connections");
    let debug = table.kernel(KernelFs::Debugfs, "/sys/kernel/debug");
    let security = table.kernel(KernelFs::Securityfs, "/sys/kernel/security");
    let pstore = table.kernel(KernelFs::Pstore, "/sys/fs/pstore");
    let cgroup = table.own(OwnFsType::Tmpfs, "cgroup", "size=12k,mode=755");
    let manager = table.external(
        "/sys/fs/cgroup/cgmanager",
        ExternalRole::Bind,
        "tmpfs",
        Some("/sys/fs/cgroup/cgmanager"),
    );
    let pts = table.own(OwnFsType::Devpts, "devpts", "gid=5,mode=620,ptmxmode=666");
    let run = table.own(OwnFsType::Tmpfs, "none", "size=199952k,mode=755");
    let lock = table.own(OwnFsType::Tmpfs, "none", "size=5120k");
    let shm = table.own(OwnFsType::Tmpfs, "none", "");
    let user = table.own(OwnFsType::Tmpfs, "none", "size=102400k,mode=755");

    const ALL: &str = "rw,nosuid,nodev,noexec";
    let top = table.mount(None, "", root, "", "rw");
    table.slave_of_outside(top, root);
    let at_dev = table.mount(Some(top), "dev", dev, "", "rw");
    let at_proc = table.mount(Some(top), "proc", proc, "", ALL);
    let proc_sys = table.mount(Some(at_proc), "sys", proc, "sys", "ro,nosuid,nodev,noexec");
    table.mount(Some(proc_sys), "net", proc, "sys/net", ALL);
    let trigger = table.mount(
        Some(at_proc),
        "sysrq-trigger",
        proc,
        "sysrq-trigger",
        "ro,nosuid,nodev,noexec",
    );
    table.mounts[trigger.at()].kind = FileKind::Regular;
    let sys_rw = table.mount(Some(top), "sys", sys, "", ALL);
    let sys_ro = table.mount(Some(sys_rw), "", sys, "", "ro,nosuid,nodev,noexec");
    let net = table.mount(Some(sys_ro), "devices/virtual/net", sys, "", "rw");
    table.mount(
        Some(net),
        "devices/virtual/net",
        sys,
        "devices/virtual/net",
        ALL,
    );
    for (at, origin, attributes) in [
        ("fs/fuse/connections", fuse, "rw"),
        ("kernel/debug", debug, "rw"),
        ("kernel/security", security, ALL),
        ("fs/pstore", pstore, ALL),
    ] {
        let mount = table.mount(Some(sys_ro), at, origin, "", attributes);
        table.slave_of_outside(mount, origin);
    }
    let at_cgroup = table.mount(Some(sys_ro), "fs/cgroup", cgroup, "", "rw");
    table.mount(Some(at_cgroup), "cgmanager", manager, "", "rw,strictatime");
    table.mount(Some(at_dev), "pts", pts, "", "rw");
    let at_run = table.mount(Some(top), "run", run, "", "rw,nosuid,noexec");
    table.mount(Some(at_run), "lock", lock, "", ALL);
    table.mount(Some(at_run), "shm", shm, "", "rw,nosuid,nodev");
    table.mount(Some(at_run), "user", user, "", "rw,nosuid,nodev,noexec");
    table.finish()
}

/// A table being made.
#[derive(Default)]
pub(crate) struct Table {
    origins: Vec<Origin>,
    mounts: Vec<Mount>,
}

impl Table {
    pub(crate) fn finish(self) -> Mounts {
        let root = MountIndex(0);
        let namespaces = vec![Namespace {
            owner: None,
            mounts: self.mounts,
            root,
        }];
        Mounts {
            user_namespaces: vec![],
            namespaces,
            origins: self.origins,
            groups: vec![],
        }
    }

    pub(crate) fn own(&mut self, fs_type: OwnFsType, source: &str, options: &str) -> OriginIndex {
        self.add(Origin::Own(OwnFileSystem {
            fs_type,
            source: source.into(),
            flags: SuperblockFlags::default(),
            options: options
                .split(',')
                .filter(|o| !o.is_empty())
                .map(option)
                .collect(),
            user: None,
            context: NamespaceContext::Caller,
            contents: Contents::Kernel,
        }))
    }

    pub(crate) fn external(
        &mut self,
        name: &str,
        role: ExternalRole,
        fs_type: &str,
        wish: Option<&str>,
    ) -> OriginIndex {
        self.add(Origin::External(External {
            name: name.into(),
            role,
            kind: FileKind::Directory,
            wish: wish.map(|path| Wish::Path(HostPath::new(path.as_bytes()).unwrap())),
            group_wish: None,
            fs_type: fs_type.into(),
        }))
    }

    fn kernel(&mut self, fs: KernelFs, at: &str) -> OriginIndex {
        self.add(Origin::External(External {
            name: at.into(),
            role: ExternalRole::Bind,
            kind: FileKind::Directory,
            wish: Some(Wish::Kernel {
                fs,
                options: vec![],
            }),
            group_wish: Some(HostPath::new(at.as_bytes()).unwrap()),
            fs_type: fs.name().into(),
        }))
    }

    fn add(&mut self, origin: Origin) -> OriginIndex {
        self.origins.push(origin);
        OriginIndex::from(self.origins.len() - 1)
    }

    pub(crate) fn mount(
        &mut self,
        parent: Option<MountIndex>,
        at: &str,
        origin: OriginIndex,
        root: &str,
        attributes: &str,
    ) -> MountIndex {
        self.mounts.push(Mount {
            parent,
            mountpoint: RelPath::new(at).unwrap(),
            origin,
            root: RelPath::new(root).unwrap(),
            deleted: false,
            former: None,
            lock: crux_image::mounts::Lock::Free,
            kind: FileKind::Directory,
            attributes: parse(attributes),
            propagation: Propagation::Private,
        });
        MountIndex::from(self.mounts.len() - 1)
    }

    fn slave_of_outside(&mut self, mount: MountIndex, origin: OriginIndex) {
        self.mounts[mount.at()].propagation = Propagation::Slave(Master::Outside(origin));
    }
}

fn parse(words: &str) -> MountAttributes {
    let mut attributes = MountAttributes::default();
    for word in words.split(',') {
        match word {
            "rw" => {}
            "ro" => attributes.readonly = true,
            "nosuid" => attributes.nosuid = true,
            "nodev" => attributes.nodev = true,
            "noexec" => attributes.noexec = true,
            "strictatime" => attributes.atime = crux_image::mounts::Atime::Strict,
            other => panic!("no attribute {other}"),
        }
    }
    attributes
}

fn option(word: &str) -> FsOption {
    match word.split_once('=') {
        Some((key, value)) => FsOption {
            key: key.into(),
            value: Some(value.into()),
        },
        None => FsOption {
            key: word.into(),
            value: None,
        },
    }
}
