//! An image and steps written by hand, for the tests of single rules.
//!
//! Kind: pure.

use super::{Rule, SimulationError, simulate};
use crate::plan::{Slot, Step};
use crux_image::contents::Section;
use crux_image::mounts::{
    Contents, External, ExternalRole, FileKind, Mount, MountAttributes, MountIndex, Mounts,
    Namespace, NamespaceContext, NamespaceIndex, Origin, OriginIndex, OwnFileSystem, OwnFsType,
    Propagation, SuperblockFlags,
};
use crux_image::path::RelPath;

pub(super) const TMPFS: OriginIndex = OriginIndex(0);
pub(super) const HOST: OriginIndex = OriginIndex(1);
pub(super) const PROC: OriginIndex = OriginIndex(2);
pub(super) const READONLY: OriginIndex = OriginIndex(3);
pub(super) const HELPER: Slot = Slot::Helper(TMPFS);
pub(super) const ROOT: Slot = mount(0);

pub(super) const fn mount(at: u32) -> Slot {
    Slot::Mount(NamespaceIndex(0), MountIndex(at))
}

pub(super) fn path(bytes: &str) -> RelPath {
    RelPath::new(bytes).unwrap()
}

pub(super) fn own(fs_type: OwnFsType, readonly: bool) -> Origin {
    Origin::Own(OwnFileSystem {
        fs_type,
        source: vec![],
        flags: SuperblockFlags {
            readonly,
            ..SuperblockFlags::default()
        },
        options: vec![],
        user: None,
        context: NamespaceContext::Caller,
        contents: Contents::Tree(Section {
            offset: 0,
            length: 0,
            entries: 1,
        }),
    })
}

pub(super) fn host() -> Origin {
    Origin::External(External {
        name: "host".into(),
        role: ExternalRole::Bind,
        kind: FileKind::Directory,
        wish: None,
        group_wish: None,
        fs_type: "ext4".into(),
    })
}

/// A mount of the tmpfs on a directory of the first mount.
pub(super) fn recorded(at: &str, root: &str, kind: FileKind) -> Mount {
    Mount {
        parent: Some(MountIndex(0)),
        mountpoint: path(at),
        origin: TMPFS,
        root: path(root),
        deleted: false,
        former: None,
        lock: crux_image::mounts::Lock::Free,
        kind,
        attributes: MountAttributes::default(),
        propagation: Propagation::Private,
    }
}

/// A tmpfs of which one namespace has the root, `a`, `a/b`, `file` and `gone`;
/// another namespace has the root.
pub(super) fn image() -> Mounts {
    let root = Mount {
        parent: None,
        ..recorded("", "", FileKind::Directory)
    };
    let mounts = vec![
        root.clone(),
        recorded("a", "a", FileKind::Directory),
        recorded("d", "a/b", FileKind::Directory),
        recorded("file", "file", FileKind::Regular),
        recorded("e", "gone", FileKind::Directory),
    ];
    let namespace = |mounts| Namespace {
        owner: None,
        mounts,
        root: MountIndex(0),
    };
    Mounts {
        user_namespaces: vec![],
        namespaces: vec![namespace(mounts), namespace(vec![root])],
        origins: vec![
            own(OwnFsType::Tmpfs, false),
            host(),
            own(OwnFsType::Proc, false),
            own(OwnFsType::Tmpfs, true),
        ],
        groups: vec![],
    }
}

pub(super) fn clone(root: &str, into: Slot) -> Step {
    Step::Clone {
        from: HELPER,
        root: path(root),
        into,
    }
}

pub(super) fn enter(namespace: u32) -> Step {
    Step::EnterNamespace {
        namespace: NamespaceIndex(namespace),
    }
}

pub(super) fn attach(at: u32, onto: Slot, name: &str) -> Step {
    Step::Attach {
        mount: mount(at),
        parent: onto,
        at: path(name),
    }
}

pub(super) fn set_group(from: Slot, to: Slot) -> Step {
    Step::SetGroup { from, to }
}

pub(super) const fn new_namespace(namespace: u32) -> Step {
    Step::NewNamespace {
        namespace: NamespaceIndex(namespace),
    }
}

/// Both namespaces, the helper, and a clone for each mount; in the yard.
pub(super) fn made() -> Vec<Step> {
    vec![
        Step::EnterYard,
        new_namespace(0),
        new_namespace(1),
        Step::Create {
            origin: TMPFS,
            into: HELPER,
        },
        Step::AttachHelper { helper: HELPER },
        clone("", ROOT),
        clone("a", mount(1)),
        clone("a/b", mount(2)),
        clone("file", mount(3)),
        clone("gone", mount(4)),
        clone("", Slot::Mount(NamespaceIndex(1), MountIndex(0))),
    ]
}

/// As `made`, with the roots in place; in namespace 0.
pub(super) fn rooted() -> Vec<Step> {
    let other = Slot::Mount(NamespaceIndex(1), MountIndex(0));
    let roots = vec![
        enter(1),
        Step::AttachRoot { mount: other },
        enter(0),
        Step::AttachRoot { mount: ROOT },
    ];
    [made(), roots].concat()
}

/// As `rooted`, with everything attached.
pub(super) fn attached() -> Vec<Step> {
    let rest = vec![
        attach(1, ROOT, "a"),
        attach(2, ROOT, "d"),
        attach(3, ROOT, "file"),
        attach(4, ROOT, "e"),
    ];
    [rooted(), rest].concat()
}

pub(super) fn run(steps: Vec<Step>, more: Vec<Step>) -> Result<Mounts, SimulationError> {
    simulate(&image(), &[steps, more].concat())
}

/// Runs the steps on an image that differs.
pub(super) fn broken_of(image: &Mounts, steps: Vec<Step>) -> Rule {
    simulate(image, &steps).unwrap_err().rule
}

/// The rule that the last of the steps breaks.
pub(super) fn broken(steps: Vec<Step>, more: Vec<Step>) -> Rule {
    let last = steps.len() + more.len() - 1;
    let error = run(steps, more).unwrap_err();
    assert_eq!(error.step, last, "{error}");
    error.rule
}
