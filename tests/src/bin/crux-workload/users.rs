//! User namespaces: one within the other, with what they own.
//!
//! Kind: effect.

use super::namespaces::{answering, children, sharing, wait_for};
use super::{Verify, same, sys};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, sethostname, setresgid, setresuid};
use std::fs::{File, read_to_string};
use std::io::{Read as _, Write as _};

/// Ids of the outer one, as its parent has them.
pub(crate) const OUTER: &str = "0 100000 1000\n";
/// Of the inner one, as the outer has them.
const INNER: &str = "0 10 1\n";

/// A child in a user namespace with many ids, which owns UTS, IPC and network namespaces; a child of that in one
/// with a single id, where groups cannot be set.
pub(crate) fn nested() -> Verify {
    let (asked, ask) = nix::unistd::pipe().expect("pipe");
    let (heard, answer) = nix::unistd::pipe().expect("pipe");
    let (asked, answer) = (File::from(asked), File::from(answer));
    let outer = in_user_namespace(OUTER, Groups::Settable, move || {
        become_root();
        let own = CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET;
        unshare(own).expect("unshare");
        become_somebody(10);
        let inner = in_user_namespace(INNER, Groups::Denied, move || {
            unshare(CloneFlags::CLONE_NEWUTS).expect("unshare");
            answering(asked, answer, || {
                let named = sethostname("inner").is_ok();
                let own = nix::unistd::getuid().as_raw() == 0;
                u64::from(named && own).to_ne_bytes().to_vec()
            })
        });
        let _ = nix::sys::wait::waitpid(Pid::from_raw(inner), None);
        0
    });
    let mut look = {
        let (mut ask, mut heard) = (File::from(ask), File::from(heard));
        move || {
            let mut bytes = [0; 8];
            let _ = ask
                .write_all(b"?")
                .and_then(|()| heard.read_exact(&mut bytes));
            u64::from_ne_bytes(bytes)
        }
    };
    look();
    let inner = children(outer)[0];
    let all = [1, outer, inner];
    let before = (sharing(&all), all.map(seen));
    Box::new(move || {
        let mut wrong = Vec::new();
        let (shared, looks) = (sharing(&all), all.map(seen));
        wrong.extend(same("who shares what", shared, before.0.clone()));
        wrong.extend(same("what is seen of them", looks, before.1.clone()));
        wrong.extend(same("the inner one may do in its own", look(), 1));
        let killed = kill(Pid::from_raw(outer), None::<Signal>);
        wrong.extend(same("I may signal them", killed, Ok(())));
        wrong
    })
}

/// setgroups(2) in a user namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Groups {
    Settable,
    Denied,
}

/// A child in a new user namespace, whose maps are written from outside.
pub(crate) fn in_user_namespace(map: &str, groups: Groups, work: impl FnOnce() -> i32) -> i32 {
    let (mapped, go) = nix::unistd::pipe().expect("pipe");
    let mut mapped = File::from(mapped);
    let child = sys::child(move || {
        unshare(CloneFlags::CLONE_NEWUSER).expect("unshare(CLONE_NEWUSER)");
        let _ = mapped.read(&mut [0]);
        drop(mapped);
        work()
    });
    wait_for(|| made_it(child));
    let write = |name: &str, text: &str| {
        std::fs::write(format!("/proc/{child}/{name}"), text).expect(name);
    };
    if groups == Groups::Denied {
        write("setgroups", "deny");
    }
    write("gid_map", map);
    write("uid_map", map);
    File::from(go).write_all(b"!").expect("write");
    child
}

fn made_it(child: i32) -> bool {
    let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let there = of(&child.to_string());
    there.is_some() && there != of("self")
}

pub(crate) fn become_root() {
    become_somebody(0);
}

fn become_somebody(id: u32) {
    let (gid, uid) = (Gid::from_raw(id), Uid::from_raw(id));
    // With what it takes to make a namespace.
    sys::prctl(nix::libc::PR_SET_KEEPCAPS, 1);
    setresgid(gid, gid, gid).expect("setresgid");
    setresuid(uid, uid, uid).expect("setresuid");
    sys::prctl(nix::libc::PR_SET_DUMPABLE, 1);
}

/// Maps and credentials of a process, as the first one sees them.
fn seen(pid: i32) -> Vec<String> {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let wanted = ["Uid", "Gid", "Groups", "Cap", "NSpid"];
    let lines = status.lines().map(str::to_owned);
    let mut all: Vec<_> = lines
        .filter(|line| wanted.iter().any(|it| line.starts_with(it)))
        .collect();
    for name in ["uid_map", "gid_map", "setgroups"] {
        all.push(read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default());
    }
    all
}
