//! Descriptors of namespaces: of those that their holder is in, and of others'.
//!
//! Kind: effect.

use super::namespaces::{children, of, wait_for, wait_for_ever};
use super::users::{Groups, OUTER, become_root, in_user_namespace};
use super::{Verify, same, sys};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, sethostname};
use std::fs::{File, read_dir, read_link};

const KINDS: [&str; 8] = ["mnt", "user", "pid", "uts", "ipc", "net", "cgroup", "time"];

/// The first process and a child in namespaces of its own have descriptors of each other's, of those of a child in a
/// user namespace, and of the pid namespace within; the first shares its own with a child.
pub(crate) fn namespaces() -> Verify {
    let below = sys::child(|| {
        let own = CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID;
        unshare(own).expect("unshare");
        sethostname("below").expect("sethostname");
        sys::child(wait_for_ever);
        let files = open(1);
        let last = wait_for_ever();
        drop(files);
        last
    });
    wait_for(|| children(below).len() == 1);
    let within = children(below)[0];
    let user = in_user_namespace(OUTER, Groups::Settable, || {
        become_root();
        unshare(CloneFlags::CLONE_NEWUTS).expect("unshare");
        wait_for_ever()
    });
    wait_for(|| of(user, "uts") != of(1, "uts"));
    let whose = [1, below, within, user];
    let files: Vec<_> = whose.into_iter().flat_map(open).collect();
    let sharing = sys::child(wait_for_ever);
    wait_for(|| held_by(below).len() == KINDS.len() && held_by(sharing).len() == files.len());
    // Of each: who has it, its number, and whose it is.
    let mut all = Vec::new();
    for holder in [1, below, sharing] {
        for (number, link) in held_by(holder) {
            let mut places = whose.iter().flat_map(|pid| KINDS.map(|kind| (*pid, kind)));
            let place = places.find(|(pid, kind)| of(*pid, kind) == link);
            all.push((holder, number, place.expect("a namespace of somebody")));
        }
    }
    let name_of_below = files.len() / whose.len() + 3;
    Box::new(move || {
        let mut wrong = Vec::new();
        for (holder, number, (pid, kind)) in &all {
            let found = read_link(format!("/proc/{holder}/fd/{number}"));
            let found = found.map_or(String::new(), |link| link.display().to_string());
            let what = format!("descriptor {number} of {holder}, {kind} of {pid}");
            wrong.extend(same(&what, found, of(*pid, kind)));
        }
        let name = name_in(&files[name_of_below]);
        wrong.extend(same("the name in one", name, 5));
        wrong
    })
}

/// A descriptor of a UTS namespace whose last process has ended.
pub(crate) fn empty() -> Verify {
    let child = sys::child(|| {
        unshare(CloneFlags::CLONE_NEWUTS).expect("unshare");
        wait_for_ever()
    });
    wait_for(|| of(child, "uts") != of(1, "uts"));
    let file = File::open(format!("/proc/{child}/ns/uts")).expect("open");
    let child = Pid::from_raw(child);
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).expect("kill");
    nix::sys::wait::waitpid(child, None).expect("waitpid");
    Box::new(move || {
        let name = name_in(&file);
        same("the name in it", name > 0, true).into_iter().collect()
    })
}

fn open(pid: i32) -> Vec<File> {
    let open = |kind| File::open(format!("/proc/{pid}/ns/{kind}")).expect("open");
    KINDS.map(open).into()
}

/// The descriptors of namespaces that a process has, by number.
fn held_by(pid: i32) -> Vec<(i32, String)> {
    let entries = read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let mut held: Vec<(i32, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let link = read_link(entry.path()).ok()?.display().to_string();
            let number = entry.file_name().to_str()?.parse().ok()?;
            let (kind, _) = link.split_once(":[")?;
            KINDS.contains(&kind).then_some((number, link))
        })
        .collect();
    held.sort_unstable();
    held
}

/// How long the name of the machine is there.
fn name_in(uts: &File) -> i32 {
    let uts = uts.try_clone().expect("dup");
    let child = sys::child(move || {
        setns(uts, CloneFlags::CLONE_NEWUTS).expect("setns");
        let name = nix::unistd::gethostname().expect("gethostname");
        name.len() as i32
    });
    match nix::sys::wait::waitpid(Pid::from_raw(child), None) {
        Ok(nix::sys::wait::WaitStatus::Exited(_, length)) => length,
        _ => -1,
    }
}
