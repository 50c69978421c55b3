//! Locks on files in records of tasks.
//!
//! Kind: pure.

use super::{task_record, vivid};
use crux_image::render::one_task;
use crux_image::tasks::*;

#[test]
fn a_lock_of_each_kind_is_one() {
    task_record::locked().check(&vivid::mounts()).unwrap();
}

#[test]
fn what_cannot_be_had_is_no_lock() {
    const LOCK: &str = "a lock is of a range or a kind, or of somebody";
    type Change = fn(&mut Tasks);
    let cases: [(Change, &str); 10] = [
        (|t| t.locks[0].file = FileIndex(9), "names open file 9"),
        (|t| t.locks[0].start = 1, LOCK),
        (|t| t.locks[0].last = Some(8), LOCK),
        (|t| t.locks[1].exclusive = true, LOCK),
        (|t| t.locks[2].last = Some(4), LOCK),
        (|t| t.locks[2].last = Some(1 << 63), LOCK),
        (|t| t.locks[2].start = u64::MAX, LOCK),
        (|t| t.files[0].access = FileAccess::Path, LOCK),
        (|t| t.files[0].access = FileAccess::Write, LOCK),
        (
            |t| t.locks[2].owner = LockOwner::Table(DescriptorTableIndex(7)),
            "names descriptor table 7",
        ),
    ];
    for (at, (change, words)) in cases.into_iter().enumerate() {
        let mut tasks = task_record::locked();
        change(&mut tasks);
        let said = tasks.check(&vivid::mounts()).expect_err(words).to_string();
        assert!(said.contains(words), "case {at}: {said}");
    }
}

#[test]
fn a_process_has_its_own_locks_only_through_its_own_descriptors() {
    let mut tasks = task_record::locked();
    tasks.descriptor_tables.push(DescriptorTable {
        descriptors: Vec::new(),
    });
    tasks.locks[2].owner = LockOwner::Table(DescriptorTableIndex(1));
    let said = tasks.check(&vivid::mounts()).unwrap_err().to_string();
    assert!(said.starts_with("lock 2: a lock is of"), "{said}");
}

#[test]
fn locks_are_shown_with_the_file() {
    let shown = one_task(&task_record::locked(), &vivid::mounts(), 1).unwrap();
    let wanted =
        "an exclusive lock (flock), a shared lock (OFD), a shared lock of bytes 5 to 9 (POSIX)";
    assert!(shown.contains(wanted), "{shown}");
}
