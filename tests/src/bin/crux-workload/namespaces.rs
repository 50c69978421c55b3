//! Namespaces of single processes: some have one of their own, some share one that neither made for the other.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, sethostname};
use std::fs::{File, read_link, read_to_string};
use std::io::{Read as _, Write as _};

/// The kinds that unshare(2) makes for the caller itself.
const KINDS: [(&str, CloneFlags); 4] = [
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("net", CloneFlags::CLONE_NEWNET),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
];

/// A child in namespaces of its own, with a child of its own in them; another child joined them; a third is
/// in a UTS namespace of its own, which has a child that went back to the first process's.
pub(crate) fn of_single_processes() -> Verify {
    let one = sys::child(|| {
        KINDS
            .iter()
            .for_each(|(_, flag)| unshare(*flag).expect("unshare"));
        sethostname("one").expect("sethostname");
        sys::child(wait_for_ever);
        wait_for_ever()
    });
    wait_for(|| children(one).len() == 1);
    let joined = sys::child(move || {
        for (kind, flag) in KINDS {
            let namespace = File::open(format!("/proc/{one}/ns/{kind}")).expect("open");
            setns(namespace, flag).expect("setns");
        }
        wait_for_ever()
    });
    let third = sys::child(|| {
        unshare(CloneFlags::CLONE_NEWUTS).expect("unshare");
        sethostname("third").expect("sethostname");
        sys::child(|| {
            setns(
                File::open("/proc/1/ns/uts").expect("open"),
                CloneFlags::CLONE_NEWUTS,
            )
            .expect("setns");
            wait_for_ever()
        });
        wait_for_ever()
    });
    wait_for(|| children(third).len() == 1);
    let (below, back) = (children(one)[0], children(third)[0]);
    wait_for(|| of(joined, "cgroup") == of(one, "cgroup") && of(back, "uts") == of(1, "uts"));
    let all = [1, one, below, joined, third, back];
    let before = sharing(&all);
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("who shares what", sharing(&all), before.clone()));
        for (pid, name) in [
            (one, "one"),
            (below, "one"),
            (joined, "one"),
            (third, "third"),
        ] {
            wrong.extend(same("the name", host_name(pid), name.to_owned()));
        }
        let own = read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        wrong.extend(same(
            "the first name",
            host_name(back),
            own.trim().to_owned(),
        ));
        wrong
    })
}

/// A pid namespace in a pid namespace: two processes in it, one of which leads a session; its maker goes on
/// making children there.
pub(crate) fn nested_pids() -> Verify {
    let (asked, ask) = nix::unistd::pipe().expect("pipe");
    let (heard, answer) = nix::unistd::pipe().expect("pipe");
    let maker = sys::child(move || {
        unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
        let first = sys::child(|| {
            sys::child(|| {
                nix::unistd::setsid().expect("setsid");
                wait_for_ever()
            });
            sys::child(|| 3);
            wait_for_ever()
        });
        wait_for(|| children(first).len() == 2);
        answering(File::from(asked), File::from(answer), || {
            let there = sys::child(|| nix::unistd::getpid().as_raw());
            let ended = nix::sys::wait::waitpid(Pid::from_raw(there), None);
            let number = match ended {
                Ok(nix::sys::wait::WaitStatus::Exited(_, number)) => number,
                _ => 0,
            };
            vec![number as u8]
        })
    });
    wait_for(|| children(maker).len() == 1);
    let first = children(maker)[0];
    wait_for(|| children(first).len() == 2);
    let below = children(first);
    let (leader, ended) = (below[0], below[1]);
    let all = [1, maker, first, leader, ended];
    let stat = |pid: i32| {
        let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<_> = fields.split_whitespace().map(str::to_owned).collect();
        [0, 1, 2, 3].map(|at| fields.get(at).cloned().unwrap_or_default())
    };
    wait_for(|| stat(leader)[3] == leader.to_string() && stat(ended)[0] == "Z");
    let numbers = |pid: i32| {
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mut lines = status.lines().filter(|line| line.starts_with("NS"));
        std::array::from_fn::<_, 4, _>(|_| lines.next().unwrap_or_default().to_owned())
    };
    let look = move || all.map(|pid| (stat(pid)[1..].to_vec(), numbers(pid)));
    let before = (look(), sharing(&all));
    let (mut ask, mut heard) = (File::from(ask), File::from(heard));
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("what is seen of them", look(), before.0.clone()));
        wrong.extend(same("who shares what", sharing(&all), before.1.clone()));
        let mut byte = [0];
        let _ = ask
            .write_all(b"?")
            .and_then(|()| heard.read_exact(&mut byte));
        wrong.extend(same("a new one is there", byte[0] > 3, true));
        wrong
    })
}

/// A pid namespace in a pid namespace with a proc file system of its own.
pub(crate) fn nested_proc() -> Verify {
    let maker = sys::child(|| {
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).expect("unshare");
        sys::child(|| {
            let flags = nix::mount::MsFlags::empty();
            let none = None::<&str>;
            nix::mount::mount(Some("nested"), "/proc", Some("proc"), flags, none).expect("mount");
            wait_for_ever()
        });
        wait_for_ever()
    });
    wait_for(|| children(maker).len() == 1);
    let first = children(maker)[0];
    let path = format!("/proc/{first}/root/proc/self/status");
    wait_for(|| !std::path::Path::new(&path).exists());
    let look = move || {
        let inside = read_to_string(format!("/proc/{first}/root/proc/1/status"));
        let status = inside.unwrap_or_default();
        let numbers = status.lines().find(|line| line.starts_with("NSpid"));
        let table = read_to_string(format!("/proc/{first}/mountinfo")).unwrap_or_default();
        let mounts = table
            .lines()
            .filter(|line| line.contains(" - proc "))
            .count();
        (numbers.unwrap_or_default().to_owned(), mounts)
    };
    let before = look();
    Box::new(move || {
        same("its proc", look(), before.clone())
            .into_iter()
            .collect()
    })
}

/// For each kind, the first of these processes that is in the namespace of each.
pub(crate) fn sharing(pids: &[i32]) -> Vec<(&'static str, Vec<Option<usize>>)> {
    let of_kind = |kind: &'static str| {
        let all: Vec<_> = pids.iter().map(|pid| of(*pid, kind)).collect();
        let first = |one: &String| all.iter().position(|it| it == one && !it.is_empty());
        (kind, all.iter().map(first).collect())
    };
    let kinds = KINDS.iter().map(|(kind, _)| *kind);
    kinds
        .chain(["mnt", "user", "time", "pid"])
        .map(of_kind)
        .collect()
}

pub(crate) fn of(pid: i32, kind: &str) -> String {
    let link = read_link(format!("/proc/{pid}/ns/{kind}"));
    link.map_or(String::new(), |link| link.display().to_string())
}

/// As a process in that namespace sees it.
fn host_name(of: i32) -> String {
    let (read, write) = nix::unistd::pipe().expect("pipe");
    let child = sys::child(move || {
        let namespace = File::open(format!("/proc/{of}/ns/uts")).expect("open");
        setns(namespace, CloneFlags::CLONE_NEWUTS).expect("setns");
        let name = nix::unistd::gethostname().expect("gethostname");
        let mut write = File::from(write);
        write.write_all(name.as_encoded_bytes()).map_or(1, |()| 0)
    });
    let mut name = String::new();
    let _ = File::from(read).read_to_string(&mut name);
    let _ = nix::sys::wait::waitpid(Pid::from_raw(child), None);
    name
}

pub(crate) fn children(pid: i32) -> Vec<i32> {
    let text = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().flat_map(str::parse).collect()
}

pub(crate) fn wait_for(mut there: impl FnMut() -> bool) {
    while !there() {
        std::thread::yield_now();
    }
}

pub(crate) fn wait_for_ever() -> i32 {
    loop {
        nix::unistd::pause();
    }
}

/// A child in a time namespace that is ahead, whose clocks go on; a child of it is there as well.
pub(crate) fn time() -> Verify {
    const AHEAD: u64 = 1_000_000;
    let (asked, ask) = nix::unistd::pipe().expect("pipe");
    let (heard, answer) = nix::unistd::pipe().expect("pipe");
    let child = sys::child(move || {
        sys::unshare_time();
        let offsets = format!("monotonic {AHEAD} 5\nboottime {} 0\n", 2 * AHEAD);
        std::fs::write("/proc/self/timens_offsets", offsets).expect("timens_offsets");
        let namespace = File::open("/proc/self/ns/time_for_children").expect("open");
        setns(namespace, CloneFlags::from_bits_retain(0x80)).expect("setns");
        sys::child(move || {
            answering(File::from(asked), File::from(answer), || {
                let clocks = [libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME].map(sys::seconds);
                clocks.map(i64::to_ne_bytes).concat()
            })
        });
        wait_for_ever()
    });
    wait_for(|| children(child).len() == 1);
    let below = children(child)[0];
    let all = [1, child, below];
    let before = sharing(&all);
    let (mut ask, mut heard) = (File::from(ask), File::from(heard));
    let mut look = move || {
        let mut bytes = [0; 16];
        let _ = ask
            .write_all(b"?")
            .and_then(|()| heard.read_exact(&mut bytes));
        let word = |at: usize| bytes[at..at + 8].try_into().map_or(0, i64::from_ne_bytes);
        [word(0), word(8)]
    };
    let mut last = look();
    Box::new(move || {
        let mut wrong = Vec::new();
        wrong.extend(same("who shares what", sharing(&all), before.clone()));
        let now = look();
        // Frozen, they go on by no time at all; a test is over in less than that.
        let goes_on = |(now, last): (&i64, &i64)| (0..300).contains(&(now - last));
        if !now.iter().zip(&last).all(goes_on) {
            wrong.push(format!("the clocks were {last:?} and are {now:?}"));
        }
        last = now;
        wrong
    })
}

/// A process that answers with what it finds, whenever it is asked.
pub(crate) fn answering(mut asked: File, mut answer: File, look: impl Fn() -> Vec<u8>) -> i32 {
    while asked.read_exact(&mut [0]).is_ok() {
        answer.write_all(&look()).expect("write");
    }
    0
}
