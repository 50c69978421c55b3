//! epoll(7): what is watched, in which way, and who has it.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags, add, create, wait};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// All that an epoll tells of, in order.
fn told(epoll: &OwnedFd) -> Vec<(u64, u32)> {
    let mut events: Vec<Event> = Vec::with_capacity(16);
    let waited = wait(
        epoll,
        rustix::buffer::spare_capacity(&mut events),
        Some(&NOW),
    );
    waited.expect("epoll_wait");
    let mut found: Vec<_> = events
        .iter()
        .map(|event| {
            let (data, flags) = (event.data, event.flags);
            (data.u64(), flags.bits())
        })
        .collect();
    found.sort_unstable();
    found
}

/// What /proc says of it, but for numbers that are new in each life.
fn shown(epoll: impl AsFd) -> Vec<String> {
    let path = format!("/proc/self/fdinfo/{}", epoll.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("tfd"));
    let mut lines: Vec<String> = lines
        .map(|line| line.split("pos:").next().unwrap_or_default().to_owned())
        .collect();
    lines.sort_unstable();
    lines
}

fn watch(epoll: &OwnedFd, file: impl AsFd, data: u64, flags: EventFlags) {
    add(epoll, file, EventData::new_u64(data), flags).expect("epoll_ctl");
}

fn ready(count: u32) -> OwnedFd {
    eventfd(count, EventfdFlags::NONBLOCK).expect("eventfd")
}

/// Level, edge, one-shot (armed and not), exclusive; numbers that lead elsewhere now; one in another.
pub(crate) fn targets() -> Verify {
    let epoll = create(CreateFlags::CLOEXEC).expect("epoll_create");
    let outer = create(CreateFlags::empty()).expect("epoll_create");
    let (level, edge, armed, reported) = (ready(1), ready(0), ready(0), ready(1));
    watch(&epoll, &reported, 4, EventFlags::IN | EventFlags::ONESHOT);
    assert_eq!(told(&epoll), [(4, 1)]);
    watch(&epoll, &level, 1, EventFlags::IN);
    watch(&epoll, &edge, 2, EventFlags::IN | EventFlags::ET);
    watch(&epoll, &armed, 3, EventFlags::IN | EventFlags::ONESHOT);
    let exclusive = ready(0);
    watch(
        &epoll,
        &exclusive,
        u64::MAX,
        EventFlags::IN | EventFlags::EXCLUSIVE,
    );
    // Registered with a number that is another file's now.
    let moved = ready(1);
    watch(&epoll, &moved, 6, EventFlags::IN);
    let kept = moved.try_clone().expect("dup");
    drop(moved);
    let instead = File::open("/dev/null").expect("open");
    // Registered with a number that is nobody's now.
    let high = rustix::io::fcntl_dupfd_cloexec(&kept, 700).expect("dup");
    watch(&epoll, &high, 7, EventFlags::IN);
    drop(high);
    watch(&outer, &epoll, 9, EventFlags::IN);
    let before = (shown(&epoll), shown(&outer));
    Box::new(move || {
        let mut wrong = Vec::new();
        let found = (shown(&epoll), shown(&outer));
        wrong.extend(same("what is watched", &found, &before));
        wrong.extend(same(
            "what is ready",
            told(&epoll),
            vec![(1, 1), (6, 1), (7, 1)],
        ));
        wrong.extend(same("the outer one", told(&outer), vec![(9, 1)]));
        let _ = rustix::io::write(&edge, &1_u64.to_ne_bytes());
        let more = vec![(1, 1), (2, 1), (6, 1), (7, 1)];
        wrong.extend(same("an edge", told(&epoll), more));
        wrong.extend(same("once", told(&epoll), vec![(1, 1), (6, 1), (7, 1)]));
        // What is still ready when it is registered anew is told once more.
        let _ = rustix::io::read(&edge, &mut [0; 8]);
        for held in [&level, &armed, &reported, &exclusive, &kept] {
            wrong.extend(same("a target", held.as_raw_fd() >= 0, true));
        }
        wrong.extend(same("instead", instead.as_raw_fd() >= 0, true));
        wrong
    })
}

/// A child has the file that its parent registered, and the parent has it no more.
pub(crate) fn of_a_family() -> Verify {
    let epoll = create(CreateFlags::CLOEXEC).expect("epoll_create");
    let event = ready(3);
    watch(&epoll, &event, 1, EventFlags::IN);
    let child = sys::child(|| {
        loop {
            nix::unistd::pause();
        }
    });
    drop(event);
    let before = shown(&epoll);
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("what is watched", &shown(&epoll), &before));
        wrong.extend(same("what is ready", told(&epoll), vec![(1, 1)]));
        wrong.extend(same("a child", child > 0, true));
        wrong
    })
}
