//! A family: children and grandchildren, sessions and process groups, and one who has ended.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, getpgid, getppid, getsid, setpgid, setsid, setuid};

/// A child in a session of its own, with a child in a group of its own; one in the parent's group.
pub(crate) fn family() -> Verify {
    let (read, write) = nix::unistd::pipe().expect("pipe");
    let (read, write) = (std::fs::File::from(read), std::fs::File::from(write));
    let own = write.try_clone().expect("dup");
    let first = sys::child(move || {
        setsid().expect("setsid");
        let grandchild = sys::child(|| {
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).expect("setpgid");
            wait_for_ever()
        });
        tell(&own, grandchild);
        wait_for_ever()
    });
    let second = sys::child(wait_for_ever);
    drop(write);
    let grandchild = hear(&read);
    let all = [first, second, grandchild];
    while getpgid(Some(Pid::from_raw(grandchild))) != Ok(Pid::from_raw(grandchild)) {
        std::thread::yield_now();
    }
    let before = all.map(seen);
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("the family", all.map(seen), before.clone()));
        wrong.extend(same("my parent", getppid().as_raw(), 0));
        wrong
    })
}

fn wait_for_ever() -> i32 {
    loop {
        nix::unistd::pause();
    }
}

fn tell(pipe: &std::fs::File, number: i32) {
    let mut pipe = pipe;
    let _ = std::io::Write::write_all(&mut pipe, &number.to_ne_bytes());
}

fn hear(pipe: &std::fs::File) -> i32 {
    let (mut pipe, mut bytes) = (pipe, [0; 4]);
    let _ = std::io::Read::read_exact(&mut pipe, &mut bytes);
    i32::from_ne_bytes(bytes)
}

/// Group, session and parent of a process. Whether it runs at the moment is another matter.
fn seen(pid: i32) -> (Option<Pid>, Option<Pid>, String) {
    let process = Some(Pid::from_raw(pid));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = fields.split_whitespace().skip(1).take(3).collect();
    (
        getpgid(process).ok(),
        getsid(process).ok(),
        fields.join(" "),
    )
}

/// A child that has ended, and is asked how only in the end.
pub(crate) fn zombie() -> Verify {
    const OWNER: u32 = 4241;
    let ended = sys::child(|| match setuid(Uid::from_raw(OWNER)) {
        Ok(()) => 7,
        Err(_) => 8,
    });
    let killed = sys::child(|| {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        0
    });
    let look = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    };
    while !look(ended) || !look(killed) {
        std::thread::yield_now();
    }
    let mut rounds = 0;
    Box::new(move || {
        rounds += 1;
        let mut wrong = Vec::new();
        if rounds == 1 {
            wrong.extend(same(
                "they are there",
                [look(ended), look(killed)],
                [true; 2],
            ));
            wrong.extend(same(
                "whose they were",
                [sys::owner_of_ended(ended), sys::owner_of_ended(killed)],
                [OWNER, 0],
            ));
            return wrong;
        }
        let status = |pid: i32| waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        if rounds == 2 {
            let (one, two) = (status(ended), status(killed));
            wrong.extend(same(
                "the one",
                one,
                Ok(WaitStatus::Exited(Pid::from_raw(ended), 7)),
            ));
            let by = nix::sys::signal::Signal::SIGKILL;
            let wanted = Ok(WaitStatus::Signaled(Pid::from_raw(killed), by, false));
            wrong.extend(same("the other", two, wanted));
        }
        wrong
    })
}

/// Where it and a child are in the hierarchies of cgroups, from the first look on.
pub(crate) fn cgroups() -> Verify {
    let child = sys::child(|| {
        loop {
            std::thread::park();
        }
    });
    let state = move || [where_is("self"), where_is(&child.to_string())];
    let mut before = None;
    Box::new(move || {
        let now = state();
        let before = before.get_or_insert_with(|| now.clone());
        same("the cgroups", now, before.clone())
            .into_iter()
            .collect()
    })
}

fn where_is(process: &str) -> String {
    let path = format!("/proc/{process}/cgroup");
    std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

/// The same from within a namespace, which it makes at the first look: where they are is looked at from the second on.
pub(crate) fn cgroup_namespace() -> Verify {
    let (mut child, mut before) = (None, None);
    Box::new(move || {
        let Some(child) = child else {
            let flags = nix::sched::CloneFlags::CLONE_NEWCGROUP;
            nix::sched::unshare(flags).expect("unshare");
            child = Some(sys::child(|| {
                loop {
                    std::thread::park();
                }
            }));
            return Vec::new();
        };
        let now = [where_is("self"), where_is(&child.to_string())];
        let before = before.get_or_insert_with(|| now.clone());
        same("the cgroups", now, before.clone())
            .into_iter()
            .collect()
    })
}
