//! The processor: vector and floating point registers of a thread that is stopped in the middle.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A thread that holds values in registers until it is asked what they are.
pub(crate) fn registers() -> Verify {
    let mut held = hold();
    Box::new(move || {
        let (go, thread) = std::mem::replace(&mut held, hold());
        go.store(true, Ordering::SeqCst);
        let mut wrong = Vec::new();
        let found = thread.join().ok();
        let vector = [0x1111, 0x2222_0000, 0x3333_0000_0000, 0x4444_0000_0000_0000];
        wrong.extend(same(
            "registers",
            found,
            Some((vector, std::f64::consts::PI)),
        ));
        wrong
    })
}

type Held = (Arc<AtomicBool>, JoinHandle<([u64; 4], f64)>);

fn hold() -> Held {
    let go: Arc<AtomicBool> = Arc::default();
    let theirs = Arc::clone(&go);
    (go, std::thread::spawn(move || sys::hold_registers(&theirs)))
}
