//! Children that have their parent's memory.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc::{CLONE_VFORK, CLONE_VM};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread that waits for children of vfork(2), of which each takes its time to become another program.
pub(crate) fn short() -> Verify {
    let turns: Arc<AtomicU64> = Arc::default();
    let wrong: Arc<AtomicBool> = Arc::default();
    {
        let (turns, wrong) = (Arc::clone(&turns), Arc::clone(&wrong));
        std::thread::spawn(move || {
            loop {
                let child = sys::sharing_child(CLONE_VM | CLONE_VFORK, sys::late_program);
                let status = waitpid(Pid::from_raw(child), None);
                if !matches!(status, Ok(WaitStatus::Exited(_, 0))) {
                    wrong.store(true, Ordering::SeqCst);
                }
                turns.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    Box::new(move || {
        let before = turns.load(Ordering::SeqCst);
        let until = Instant::now() + Duration::from_secs(30);
        while turns.load(Ordering::SeqCst) < before + 2 && Instant::now() < until {
            std::thread::yield_now();
        }
        let goes_on = turns.load(Ordering::SeqCst) >= before + 2;
        let all = [
            same("it goes on", goes_on, true),
            same("a child failed", wrong.load(Ordering::SeqCst), false),
        ];
        all.into_iter().flatten().collect()
    })
}

/// One that never does: its parent cannot be stopped.
pub(crate) fn lasting() -> Verify {
    std::thread::spawn(|| sys::sharing_child(CLONE_VM | CLONE_VFORK, sys::wait_for_ever));
    while !has_child() {
        std::thread::yield_now();
    }
    Box::new(|| {
        same("it has a child", has_child(), true)
            .into_iter()
            .collect()
    })
}

/// One whose parent does not wait.
pub(crate) fn sharing() -> Verify {
    sys::sharing_child(CLONE_VM, sys::wait_for_ever);
    Box::new(|| {
        same("it has a child", has_child(), true)
            .into_iter()
            .collect()
    })
}

fn has_child() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc/self/task");
    let mut lists = tasks.filter_map(|task| {
        let path = task.ok()?.path().join("children");
        std::fs::read_to_string(path).ok()
    });
    lists.any(|list| !list.trim().is_empty())
}
