//! Threads: their numbers, names, masks, memory of their own, and that each goes on.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

const THREADS: usize = 16;

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}

#[derive(Default)]
struct Each {
    count: AtomicU64,
    tid: AtomicU64,
    wrong: AtomicBool,
}

/// Half of them count, half wait for each other.
pub(crate) fn many() -> Verify {
    let all: Arc<Vec<Each>> = Arc::new((0..THREADS).map(|_| Each::default()).collect());
    let turn = Arc::new((Mutex::new(0_u64), Condvar::new()));
    for at in 0..THREADS {
        let (all, turn) = (Arc::clone(&all), Arc::clone(&turn));
        std::thread::spawn(move || run(at, &all[at], &turn));
    }
    while all
        .iter()
        .any(|each| each.count.load(Ordering::SeqCst) == 0)
    {
        std::thread::yield_now();
    }
    let tids: Vec<u64> = all
        .iter()
        .map(|each| each.tid.load(Ordering::SeqCst))
        .collect();
    Box::new(move || {
        let mut wrong = Vec::new();
        let before: Vec<u64> = all
            .iter()
            .map(|each| each.count.load(Ordering::SeqCst))
            .collect();
        if let Ok(mut turn_of) = turn.0.lock() {
            *turn_of += 1;
        }
        turn.1.notify_all();
        let goes_on = |(each, before): (&Each, &u64)| {
            (0..50_000_000).any(|_| {
                std::thread::yield_now();
                each.count.load(Ordering::SeqCst) > *before
            })
        };
        let on = all
            .iter()
            .zip(&before)
            .filter(|pair| goes_on(*pair))
            .count();
        wrong.extend(same("threads that go on", on, THREADS));
        for (each, tid) in all.iter().zip(&tids) {
            wrong.extend(same("a thread", each.wrong.load(Ordering::SeqCst), false));
            wrong.extend(same("its number", each.tid.load(Ordering::SeqCst), *tid));
        }
        let listed = std::fs::read_dir("/proc/self/task")
            .map(Iterator::count)
            .unwrap_or(0);
        wrong.extend(same("threads", listed, THREADS + 1));
        wrong
    })
}

fn run(at: usize, each: &Each, turn: &(Mutex<u64>, Condvar)) {
    let name = std::ffi::CString::new(format!("number {at}")).unwrap_or_default();
    sys::set_name(&name);
    if at.is_multiple_of(3) {
        sys::block(nix::libc::SIGUSR2);
    }
    OWN.set(at as u64 + 1);
    let mut seen = 0;
    loop {
        each.tid.store(sys::thread_id() as u64, Ordering::SeqCst);
        each.count.fetch_add(1, Ordering::SeqCst);
        if OWN.get() != at as u64 + 1 || !is_as_it_was(at) {
            each.wrong.store(true, Ordering::SeqCst);
        }
        if at.is_multiple_of(2) {
            let Ok(mut now) = turn.0.lock() else { return };
            while *now == seen {
                let Ok(next) = turn.1.wait(now) else { return };
                now = next;
            }
            seen = *now;
        } else {
            std::thread::yield_now();
        }
    }
}

/// By what the kernel says of the thread.
fn is_as_it_was(at: usize) -> bool {
    let name = format!("number {at}");
    let blocked = sys::is_blocked(nix::libc::SIGUSR2);
    sys::name() == name.as_bytes() && blocked == at.is_multiple_of(3)
}
