//! Processes that are stopped, by each signal that does it.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc::{MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setpgid};

const SIGNALS: [Signal; 4] = [
    Signal::SIGSTOP,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Each stops itself over and over, and counts how often it was continued.
pub(crate) fn stopped() -> Verify {
    let counts = sys::map(4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
    let count = move |number: usize| counts + 8 * number;
    let children: Vec<Pid> = SIGNALS
        .into_iter()
        .enumerate()
        .map(|(number, signal)| {
            let child = sys::child(move || {
                // In the group of its parent nobody could continue it.
                setpgid(Pid::from_raw(0), Pid::from_raw(0)).expect("setpgid");
                loop {
                    raise(signal).expect("raise");
                    sys::write(count(number), sys::read(count(number)) + 1);
                }
            });
            Pid::from_raw(child)
        })
        .collect();
    let mut wrong: Vec<String> = Vec::new();
    for (child, signal) in children.iter().zip(SIGNALS) {
        wrong.extend(stops(*child, signal));
    }
    let mut turn = 0;
    Box::new(move || {
        let mut wrong = std::mem::take(&mut wrong);
        turn += 1;
        for (number, (child, signal)) in children.iter().zip(SIGNALS).enumerate() {
            // Who has seen it stop may see it once more after a restore.
            let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
            match waitpid(*child, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {}
                other => wrong.extend(same(
                    "stopped",
                    other,
                    Ok(WaitStatus::Stopped(*child, signal)),
                )),
            }
            wrong.extend(same("its turns", sys::read(count(number)), turn - 1));
            wrong.extend(same("is stopped", is_stopped(*child), true));
            if let Err(error) = kill(*child, Signal::SIGCONT) {
                wrong.push(format!("SIGCONT: {error}"));
            }
            wrong.extend(stops(*child, signal));
            wrong.extend(same("its turns", sys::read(count(number)), turn));
        }
        wrong
    })
}

fn stops(child: Pid, signal: Signal) -> Option<String> {
    let found = waitpid(child, Some(WaitPidFlag::WUNTRACED));
    same("stops", found, Ok(WaitStatus::Stopped(child, signal)))
}

/// Who is let go by a tracer is on his way for a moment.
fn is_stopped(child: Pid) -> bool {
    (0..100_000).any(|_| {
        std::thread::yield_now();
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
        stat.is_ok_and(|stat| stat.contains(") T "))
    })
}
