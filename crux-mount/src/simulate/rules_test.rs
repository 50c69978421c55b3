//! The rules of phases, namespaces, slots and trees, one test each.
//!
//! Kind: pure.

use super::scene::*;
use super::{Place, Rule, simulate};
use crate::plan::{Slot, Step};
use crux_image::mounts::{IdMap, MountAttributes, MountIndex, NamespaceIndex};

#[test]
fn a_whole_plan_makes_the_tree_of_its_steps() {
    let made = run(attached(), vec![]).unwrap();
    assert_eq!(made, image());
}

#[test]
fn errors_name_the_step_and_the_rule() {
    let error = run(vec![Step::EnterYard], vec![Step::EnterYard]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "step 2 (enter the yard): the yard was entered before"
    );
}

#[test]
fn sources_are_opened_before_the_yard() {
    let wrong = Rule::WrongPlace {
        current: Place::Yard,
        needed: "the caller's namespace",
    };
    let open = Step::OpenSource {
        origin: HOST,
        into: Slot::Helper(HOST),
    };
    assert_eq!(broken(vec![Step::EnterYard], vec![open]), wrong);
    let open = Step::OpenOutside { origin: HOST };
    assert_eq!(broken(vec![Step::EnterYard], vec![open]), wrong);
}

#[test]
fn sources_are_external_and_made_file_systems_are_not() {
    let open = Step::OpenSource {
        origin: TMPFS,
        into: HELPER,
    };
    assert!(matches!(
        broken(vec![], vec![open]),
        Rule::OriginKind { origin: TMPFS, .. }
    ));
    let create = Step::Create {
        origin: HOST,
        into: Slot::Helper(HOST),
    };
    assert!(matches!(
        broken(vec![], vec![create]),
        Rule::OriginKind { origin: HOST, .. }
    ));
}

#[test]
fn a_superblock_is_made_once() {
    let again = Step::Create {
        origin: TMPFS,
        into: ROOT,
    };
    let first = Step::Create {
        origin: TMPFS,
        into: HELPER,
    };
    assert_eq!(
        broken(vec![first], vec![again]),
        Rule::SecondSuperblock(TMPFS)
    );
}

#[test]
fn proc_is_made_while_the_hosts_is_visible() {
    let create = Step::Create {
        origin: PROC,
        into: Slot::Helper(PROC),
    };
    assert_eq!(
        broken(vec![Step::EnterYard], vec![create]),
        Rule::MadeTooLate("proc")
    );
}

#[test]
fn slots_are_filled_once_and_before_use() {
    assert_eq!(
        broken(made(), vec![clone("", ROOT)]),
        Rule::SlotFilled(ROOT)
    );
    let helper = Slot::Helper(READONLY);
    let attach = Step::AttachHelper { helper };
    assert_eq!(broken(made(), vec![attach]), Rule::SlotEmpty(helper));
    let slot = mount(9);
    assert_eq!(
        broken(made(), vec![clone("", slot)]),
        Rule::NoSuchSlot(slot)
    );
    let other = Slot::Helper(READONLY);
    let create = Step::Create {
        origin: TMPFS,
        into: other,
    };
    assert_eq!(broken(vec![], vec![create]), Rule::WrongSlot(other));
}

#[test]
fn namespaces_are_made_in_an_empty_yard() {
    let steps = vec![
        Step::EnterYard,
        Step::Create {
            origin: TMPFS,
            into: HELPER,
        },
        Step::AttachHelper { helper: HELPER },
    ];
    assert_eq!(broken(steps, vec![new_namespace(0)]), Rule::YardNotEmpty);
    let needed = "the yard";
    let wrong = Rule::WrongPlace {
        current: Place::Caller,
        needed,
    };
    assert_eq!(broken(vec![], vec![new_namespace(0)]), wrong);
    let steps = vec![Step::EnterYard, new_namespace(0)];
    let second = Rule::SecondNamespace(NamespaceIndex(0));
    assert_eq!(broken(steps, vec![new_namespace(0)]), second);
}

#[test]
fn only_namespaces_that_were_made_are_entered() {
    let missing = Rule::NoNamespace(NamespaceIndex(0));
    assert_eq!(broken(vec![Step::EnterYard], vec![enter(0)]), missing);
}

#[test]
fn clones_are_made_of_attached_mounts_in_the_yard() {
    let steps = vec![
        Step::EnterYard,
        Step::Create {
            origin: TMPFS,
            into: HELPER,
        },
    ];
    assert_eq!(
        broken(steps, vec![clone("", ROOT)]),
        Rule::NotAttached(HELPER)
    );
    let current = Place::Container(NamespaceIndex(0));
    let wrong = Rule::WrongPlace {
        current,
        needed: "the yard",
    };
    assert_eq!(
        broken(made()[..5].to_vec(), vec![enter(0), clone("", ROOT)]),
        wrong
    );
    let from = Step::Clone {
        from: ROOT,
        root: path(""),
        into: mount(1),
    };
    let steps = [
        made()[..6].to_vec(),
        vec![enter(0), Step::AttachRoot { mount: ROOT }],
    ]
    .concat();
    let foreign = Rule::ForeignNamespace {
        mount: ROOT,
        holder: current,
        current: Place::Yard,
    };
    assert_eq!(broken(steps, vec![Step::ReturnToYard, from]), foreign);
}

#[test]
fn unbindable_mounts_are_not_cloned() {
    let steps = [
        made()[..5].to_vec(),
        vec![Step::MakeUnbindable { mount: HELPER }],
    ]
    .concat();
    assert_eq!(
        broken(steps, vec![clone("", ROOT)]),
        Rule::Unbindable(HELPER)
    );
}

#[test]
fn no_path_leads_through_a_file() {
    let through = clone("file/x", Slot::Mount(NamespaceIndex(0), MountIndex(4)));
    let rule = Rule::ThroughFile {
        mount: HELPER,
        path: path("file/x"),
    };
    assert_eq!(broken(made()[..9].to_vec(), vec![through]), rule);
}

#[test]
fn mounts_are_attached_once_and_in_their_own_namespace() {
    let again = attach(1, ROOT, "d");
    assert_eq!(broken(attached(), vec![again]), Rule::Attached(mount(1)));
    let other = Slot::Mount(NamespaceIndex(1), MountIndex(0));
    let foreign = attach(1, other, "a");
    let here = Place::Container(NamespaceIndex(0));
    let there = Place::Container(NamespaceIndex(1));
    let rule = Rule::ForeignNamespace {
        mount: other,
        holder: there,
        current: here,
    };
    assert_eq!(broken(rooted(), vec![foreign]), rule);
    assert_eq!(
        broken(rooted(), vec![enter(1), attach(1, other, "a")]),
        Rule::WrongSlot(mount(1))
    );
}

#[test]
fn nothing_is_attached_to_what_is_detached_or_before_the_root() {
    assert_eq!(
        broken(rooted(), vec![attach(1, mount(2), "a")]),
        Rule::NotAttached(mount(2))
    );
    let early = vec![enter(0), attach(1, ROOT, "a")];
    assert_eq!(broken(made(), early), Rule::NoRoot(NamespaceIndex(0)));
    let wrong = Rule::WrongPlace {
        current: Place::Yard,
        needed: "a namespace of the container",
    };
    assert_eq!(broken(made(), vec![attach(1, ROOT, "a")]), wrong);
}

#[test]
fn a_path_to_or_through_a_mountpoint_crosses_it() {
    for at in ["a", "a/b"] {
        let rule = Rule::CrossesMount {
            mount: ROOT,
            path: path(at),
        };
        assert_eq!(
            broken(rooted(), vec![attach(1, ROOT, "a"), attach(2, ROOT, at)]),
            rule
        );
    }
}

#[test]
fn a_mount_over_a_directory_that_holds_mounts_covers_them() {
    let steps = vec![
        attach(2, ROOT, "a/b"),
        attach(1, ROOT, "a"),
        attach(3, ROOT, "file"),
        attach(4, ROOT, "e"),
    ];
    let made = run(rooted(), steps).unwrap();
    assert_eq!(made.namespaces[0].mounts[1].parent, Some(MountIndex(0)));
    assert_eq!(made.namespaces[0].mounts[2].mountpoint, path("a/b"));
}

#[test]
fn a_mount_on_a_root_goes_to_the_top_of_the_stack() {
    let steps = vec![
        attach(1, ROOT, ""),
        attach(2, ROOT, ""),
        attach(3, ROOT, "file"),
        attach(4, ROOT, ""),
    ];
    let made = run(rooted(), steps).unwrap();
    let parents: Vec<_> = made.namespaces[0]
        .mounts
        .iter()
        .map(|m| m.parent.map(|p| p.0))
        .collect();
    assert_eq!(parents, [None, Some(0), Some(1), Some(0), Some(2)]);
}

#[test]
fn directories_go_onto_directories_and_files_onto_files() {
    let rule = Rule::KindMismatch {
        mount: mount(1),
        kind: "a directory",
    };
    assert_eq!(broken(rooted(), vec![attach(1, ROOT, "file")]), rule);
    let rule = Rule::KindMismatch {
        mount: mount(3),
        kind: "no directory",
    };
    assert_eq!(broken(rooted(), vec![attach(3, ROOT, "a")]), rule);
}

#[test]
fn a_root_is_a_directory_and_given_once() {
    let root = |at| Step::AttachRoot { mount: mount(at) };
    assert_eq!(
        broken(rooted(), vec![root(1)]),
        Rule::SecondRoot(NamespaceIndex(0))
    );
    assert_eq!(
        broken(made(), vec![enter(0), root(3)]),
        Rule::RootNotDirectory(mount(3))
    );
}

#[test]
fn attributes_are_set_while_detached_and_an_id_map_once() {
    let set = |mount, idmap| Step::SetAttributes {
        mount,
        attributes: MountAttributes {
            idmap,
            ..MountAttributes::default()
        },
    };
    let map = IdMap {
        uids: vec![],
        gids: vec![],
    };
    assert_eq!(
        broken(made(), vec![set(HELPER, None)]),
        Rule::Attached(HELPER)
    );
    let twice = vec![set(ROOT, Some(map)), set(ROOT, None)];
    assert_eq!(broken(made(), twice), Rule::IdMapped(ROOT));
}

#[test]
fn attributes_of_the_hosts_mounts_do_not_stay() {
    let mut image = image();
    image.namespaces.truncate(1);
    image.namespaces[0].mounts.truncate(1);
    image.namespaces[0].mounts[0].origin = HOST;
    let mut steps = vec![
        Step::OpenSource {
            origin: HOST,
            into: ROOT,
        },
        Step::EnterYard,
        new_namespace(0),
        enter(0),
        Step::AttachRoot { mount: ROOT },
    ];
    assert_eq!(
        broken_of(&image, steps.clone()),
        Rule::ForeignAttributes(ROOT)
    );
    steps.insert(
        1,
        Step::SetAttributes {
            mount: ROOT,
            attributes: MountAttributes::default(),
        },
    );
    assert_eq!(simulate(&image, &steps), Ok(image));
}

#[test]
fn every_mount_is_attached_in_the_end() {
    assert_eq!(broken_of(&image(), rooted()), Rule::Forgotten(mount(1)));
}

fn unlink(name: &str, directory: bool) -> Step {
    Step::Unlink {
        through: HELPER,
        name: path(name),
        former: None,
        directory,
    }
}

#[test]
fn a_root_that_was_unlinked_is_deleted() {
    let made = run(attached(), vec![unlink("gone", true)]).unwrap();
    let deleted: Vec<bool> = made.namespaces[0]
        .mounts
        .iter()
        .map(|m| m.deleted)
        .collect();
    assert_eq!(deleted, [false, false, false, false, true]);
}

#[test]
fn only_what_can_be_unlinked_is() {
    assert_eq!(
        broken(attached(), vec![unlink("gone", false)]),
        Rule::UnlinkKind(path("gone"))
    );
    assert_eq!(
        broken(attached(), vec![unlink("file", true)]),
        Rule::UnlinkKind(path("file"))
    );
    assert_eq!(
        broken(rooted(), vec![unlink("a", true)]),
        Rule::NotEmpty(path("a"))
    );
    assert_eq!(broken(attached(), vec![unlink("", true)]), Rule::UnlinkRoot);
    let on = vec![attach(1, ROOT, "gone"), unlink("gone", true)];
    assert_eq!(broken(rooted(), on), Rule::MountedOn(path("gone")));
    let through = Step::Unlink {
        through: ROOT,
        name: path("gone"),
        former: None,
        directory: true,
    };
    assert_eq!(broken(attached(), vec![through]), Rule::WrongSlot(ROOT));
}

#[test]
fn names_that_were_unlinked_lead_nowhere() {
    let steps = vec![unlink("gone", true), attach(1, ROOT, "gone")];
    let rule = Rule::Unlinked {
        mount: ROOT,
        path: path("gone"),
    };
    assert_eq!(broken(rooted(), steps), rule);
    let steps = vec![
        attach(4, ROOT, "e"),
        unlink("gone", true),
        attach(1, mount(4), ""),
    ];
    let rule = Rule::Unlinked {
        mount: mount(1),
        path: path("gone"),
    };
    assert_eq!(broken(rooted(), steps), rule);
}

#[test]
fn nothing_is_unlinked_from_a_read_only_superblock() {
    let helper = Slot::Helper(READONLY);
    let create = Step::Create {
        origin: READONLY,
        into: helper,
    };
    let name = path("x");
    let unlink = Step::Unlink {
        through: helper,
        name,
        former: None,
        directory: true,
    };
    assert_eq!(broken(vec![create], vec![unlink]), Rule::ReadOnly(helper));
}
