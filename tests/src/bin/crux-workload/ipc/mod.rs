//! Semaphores, message queues and shared memory of System V.
//!
//! Kind: effect. The calls are in `sys`.

mod sys;

use super::{Verify, same, sys as memory};
use nix::sched::{CloneFlags, unshare};
use sys::Kind;

const PAGE: usize = 4096;

/// Objects with and without keys, of several owners, and one before that has gone: ids are not the first ones.
pub(crate) fn semaphores() -> Verify {
    let gone = sys::semget(0, 1, 0o600);
    sys::remove(Kind::Semaphores, gone);
    let keyed = sys::semget(0x1234, 3, 0o640);
    for (number, value) in [7, 0, 32_767].into_iter().enumerate() {
        sys::set_value(keyed, number, value);
    }
    sys::operate(keyed, 0, -2, 0);
    let private = sys::semget(0, 2, 0o600);
    let other = sys::as_user(7, 8, || sys::semget(0x77, 1, 0o600));
    // A child waits for the last semaphore of the private set, and answers with the first.
    let answer = memory::map(
        PAGE,
        nix::libc::PROT_READ | nix::libc::PROT_WRITE,
        nix::libc::MAP_SHARED | nix::libc::MAP_ANONYMOUS,
        -1,
    );
    memory::child(move || {
        loop {
            memory::write(answer + 8, 1);
            sys::operate(private, 1, -1, 0);
            sys::operate(private, 0, 1, 0);
        }
    });
    while memory::read(answer + 8) == 0 {
        std::thread::yield_now();
    }
    // One in an ipc namespace of its own has a set with the same key.
    memory::child(move || {
        unshare(CloneFlags::CLONE_NEWIPC).expect("unshare");
        let apart = sys::semget(0x1234, 1, 0o600);
        sys::set_value(apart, 0, 3);
        memory::write(answer + 16, 1);
        loop {
            if memory::read(answer + 24) != 0 {
                memory::write(answer + 32, sys::values(apart, 1)[0].into());
                memory::write(answer + 24, 0);
            }
            std::thread::yield_now();
        }
    });
    while memory::read(answer + 16) == 0 {
        std::thread::yield_now();
    }
    let state = move || [keyed, private, other].map(|id| sys::status(Kind::Semaphores, id));
    let before = state();
    let me = std::process::id();
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("owners, keys and modes", state(), before.clone()));
        wrong.extend(same(
            "the set with this key",
            sys::semget_old(0x1234),
            keyed,
        ));
        wrong.extend(same("values", sys::values(keyed, 3), vec![5, 0, 32_767]));
        wrong.extend(same("who changed it last", sys::last(keyed, 0), me));
        wrong.extend(same("it was used", sys::is_used(keyed), true));
        wrong.extend(same("another was not", sys::is_used(other), false));
        memory::write(answer + 32, 0);
        memory::write(answer + 24, 1);
        while memory::read(answer + 24) != 0 {
            std::thread::yield_now();
        }
        wrong.extend(same("the one apart", memory::read(answer + 32), 3));
        sys::operate(private, 1, 1, 0);
        sys::operate(private, 0, -1, 0);
        wrong
    })
}

/// Messages of several types and lengths.
pub(crate) fn messages() -> Verify {
    let gone = sys::msgget(0, 0o600);
    let queue = sys::msgget(0x4321, 0o660);
    sys::remove(Kind::Queues, gone);
    let other = sys::msgget(0, 0o600);
    let texts: [(i64, &[u8]); 4] = [
        (3, b"three"),
        (1, b""),
        (i64::MAX, &[7; 4000]),
        (3, b"again"),
    ];
    let fill = move || {
        texts
            .iter()
            .for_each(|(kind, text)| sys::send(queue, *kind, text))
    };
    fill();
    // A child sends back what it gets, with the next type.
    memory::child(move || {
        loop {
            let (kind, text) = sys::receive(other, 1);
            sys::send(other, kind + 1, &text);
        }
    });
    let state = move || [queue, other].map(|id| sys::status(Kind::Queues, id));
    let before = state();
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("owners, keys and modes", state(), before.clone()));
        for (kind, text) in texts {
            let found = sys::receive(queue, 0);
            wrong.extend(same("a message", found, (kind, text.to_vec())));
        }
        fill();
        sys::send(other, 1, b"there");
        let back = sys::receive(other, 2);
        wrong.extend(same("the child's answer", back, (2, b"there".to_vec())));
        wrong
    })
}

/// Segments that several have mapped, one that nobody has, and one that goes with its last mapping.
pub(crate) fn segments() -> Verify {
    let gone = sys::shmget(0, PAGE, 0o600);
    let common = sys::shmget(0x5555, 5 * PAGE + 100, 0o644);
    sys::remove(Kind::Segments, gone);
    let lonely = sys::shmget(0, 2 * PAGE, 0o600);
    let doomed = sys::shmget(0x66, PAGE, 0o600);
    let at = sys::shmat(common, false);
    let fixed = sys::shmat(common, true);
    let last = sys::shmat(doomed, false);
    memory::write(last, 66);
    sys::remove(Kind::Segments, doomed);
    sys::lock(common);
    let away = sys::shmat(lonely, false);
    memory::write(away + PAGE, 99);
    sys::shmdt(away);
    for page in 0..6 {
        memory::write(at + page * PAGE + 64, page as u64 + 10);
    }
    memory::child(move || {
        loop {
            let given = memory::read(at);
            if given != 0 {
                memory::write(at + 8, given * 2);
                memory::write(at, 0);
            }
            std::thread::yield_now();
        }
    });
    let state = move || [common, lonely, doomed].map(|id| sys::status(Kind::Segments, id));
    let before = state();
    let mut round = 0;
    Box::new(move || {
        round += 1;
        let mut wrong = Vec::new();
        wrong.extend(same(
            "owners, keys, modes and sizes",
            state(),
            before.clone(),
        ));
        for page in 0..6 {
            let found = memory::read(fixed + page * PAGE + 64);
            wrong.extend(same("a page", found, page as u64 + 10));
        }
        memory::write(at, round);
        while memory::read(at) != 0 {
            std::thread::yield_now();
        }
        wrong.extend(same(
            "the child's answer",
            memory::read(fixed + 8),
            round * 2,
        ));
        wrong.extend(same("the doomed one", memory::read(last), 66));
        let away = sys::shmat(lonely, false);
        wrong.extend(same("the lonely one", memory::read(away + PAGE), 99));
        sys::shmdt(away);
        wrong
    })
}
