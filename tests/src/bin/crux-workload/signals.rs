//! Signals: actions, masks, and those that wait.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc::{SA_NODEFER, SA_RESTART, SIGHUP, SIGRTMIN, SIGTERM, SIGTRAP, SIGUSR1, SIGUSR2};
use std::sync::atomic::Ordering;

/// Handlers with flags and masks, an ignored one, and a queue behind a mask.
pub(crate) fn kept() -> Verify {
    let queued = SIGRTMIN() + 3;
    sys::catch(SIGUSR1, SA_RESTART, &[SIGTERM]);
    sys::catch(SIGUSR2, SA_NODEFER, &[]);
    sys::catch(queued, SA_RESTART, &[]);
    // Those that restore it make SIGTRAPs of their own.
    for signal in [SIGHUP, SIGTRAP] {
        sys::ignore(signal);
    }
    for signal in [SIGUSR1, queued] {
        sys::block(signal);
    }
    sys::queue(SIGUSR1, 5);
    for value in 0..3 {
        sys::queue(queued, 100 + value);
    }
    let actions = [SIGUSR1, SIGUSR2, SIGHUP, SIGTRAP, SIGTERM, queued].map(sys::action);
    let mut round = 0;
    Box::new(move || {
        let mut wrong = Vec::new();
        let now = [SIGUSR1, SIGUSR2, SIGHUP, SIGTRAP, SIGTERM, queued].map(sys::action);
        wrong.extend(same("actions", now, actions));
        let caught = |signal: i32| sys::CAUGHT[signal as usize].load(Ordering::SeqCst);
        wrong.extend(same("blocked", caught(SIGUSR1), round));
        sys::unblock(SIGUSR1);
        wrong.extend(same("delivered", caught(SIGUSR1), round + 1));
        wrong.extend(same("its value", sys::VALUE.load(Ordering::SeqCst), 5));
        wrong.extend(same("queued", caught(queued), round * 3));
        sys::unblock(queued);
        wrong.extend(same("all of the queue", caught(queued), round * 3 + 3));
        wrong.extend(same("the last", sys::VALUE.load(Ordering::SeqCst), 102));
        round += 1;
        for signal in [SIGUSR1, queued] {
            sys::block(signal);
        }
        sys::queue(SIGUSR1, 5);
        for value in 0..3 {
            sys::queue(queued, 100 + value);
        }
        sys::queue(SIGUSR2, 1);
        wrong.extend(same("a handler runs", caught(SIGUSR2), round));
        wrong
    })
}
