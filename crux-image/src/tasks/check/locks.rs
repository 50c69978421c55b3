//! Locks on files.
//!
//! Kind: pure.

use super::{TasksError, TasksPlace, TasksRule, at_most, in_range};
use crate::tasks::{FileAccess, FileLock, LockOwner, Tasks};

const LOCK_LIMIT: usize = 1 << 20;
/// `OFFSET_MAX`
const LAST: u64 = i64::MAX as u64;

pub(super) fn check(tasks: &Tasks) -> Result<(), TasksError> {
    at_most("locks", tasks.locks.len(), LOCK_LIMIT).map_err(|rule| rule.at(TasksPlace::Record))?;
    for (at, lock) in tasks.locks.iter().enumerate() {
        check_lock(tasks, lock).map_err(|rule| rule.at(TasksPlace::Lock(at)))?;
    }
    Ok(())
}

fn check_lock(tasks: &Tasks, lock: &FileLock) -> Result<(), TasksRule> {
    in_range("open file", lock.file.at(), tasks.files.len())?;
    let access = tasks.files[lock.file.at()].access;
    let fits = match (lock.owner, lock.exclusive) {
        _ if access == FileAccess::Path => false,
        (LockOwner::Whole, _) => (lock.start, lock.last) == (0, None),
        (_, true) => access != FileAccess::Read,
        (_, false) => access != FileAccess::Write,
    };
    let last = lock.last.unwrap_or(LAST);
    if !fits || lock.start > last || last > LAST {
        return Err(TasksRule::Lock);
    }
    if let LockOwner::Table(table) = lock.owner {
        in_range(
            "descriptor table",
            table.at(),
            tasks.descriptor_tables.len(),
        )?;
        let descriptors = &tasks.descriptor_tables[table.at()].descriptors;
        if !descriptors.iter().any(|it| it.file == lock.file) {
            return Err(TasksRule::Lock);
        }
    }
    Ok(())
}
