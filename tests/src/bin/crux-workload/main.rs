//! A program that sets something up, says so, and looks after its own state whenever it is told a line.
//!
//! Kind: shell. It runs as the first process of a container that is dumped and restored: what it
//! sees is what counts. It knows nothing of crux. Standard output: `ready`, then `ok` for each line
//! that it is told; anything else is a complaint. It ends with its input.

mod connections;
mod crowd;
mod demo;
mod epoll;
mod events;
mod files;
mod held;
mod identity;
mod inet;
mod inotify;
mod ipc;
mod locks;
mod memory;
mod messages;
mod named;
mod namespaces;
mod netlink;
mod processor;
mod programs;
mod removed;
mod seccomp;
mod signals;
mod sockets;
mod stopped;
mod sys;
mod syslog;
mod terminals;
mod threads;
mod time;
mod tree;
mod users;
mod vfork;
mod waits;

use std::io::{BufRead as _, Write as _};

/// What is looked after: everything that is wrong, in words.
type Verify = Box<dyn FnMut() -> Vec<String>>;

/// A scenario's name, and how it is set up.
type Scenario = (&'static str, fn() -> Verify);

const SCENARIOS: &[Scenario] = &[
    ("nothing", || Box::new(Vec::new)),
    ("memory", memory::private),
    ("shared-memory", memory::shared),
    ("copy-on-write", memory::copied),
    ("files", files::regular),
    ("pipes", files::pipes),
    ("fifos", files::fifos),
    ("removed-files", removed::files),
    ("removed-directories", removed::directories),
    ("removed-program", removed::program),
    ("reopened-pipes", files::reopened_pipes),
    ("memfds", files::memfds),
    ("telling-file", files::telling),
    ("inotify", inotify::watches),
    ("pidfd", inotify::processes),
    ("many-files", files::many),
    ("locks", locks::kept),
    ("lock-of-a-removed-file", locks::removed),
    ("lease", locks::lease),
    ("eventfd", events::counters),
    ("signalfd", events::signals),
    ("timerfd", events::timers),
    ("epoll", epoll::targets),
    ("ebpf", programs::readable),
    ("ebpf-that-writes", programs::unreadable),
    ("epoll-of-a-family", epoll::of_a_family),
    ("threads", threads::many),
    ("signals", signals::kept),
    ("sleep", time::sleeps),
    ("timers", time::timers),
    ("waits", waits::timed),
    ("stopped", stopped::stopped),
    ("vfork", vfork::short),
    ("lasting-vfork", vfork::lasting),
    ("memory-of-two", vfork::sharing),
    ("tree", tree::family),
    ("zombie", tree::zombie),
    ("terminals", terminals::pairs),
    ("controlling-terminal", terminals::controlling),
    ("cgroups", tree::cgroups),
    ("cgroup-namespace", tree::cgroup_namespace),
    ("identity", identity::kept),
    ("datagrams", inet::datagrams),
    ("multicast", inet::multicast),
    ("listening", inet::listening),
    ("connected", inet::connected),
    ("connections", connections::open),
    ("connection-of-processes", connections::between_processes),
    ("half-closed-connections", connections::half_closed),
    ("full-connection", connections::full),
    ("urgent-byte", || connections::urgent(false)),
    ("urgent-byte-taken", || connections::urgent(true)),
    ("namespaces", namespaces::of_single_processes),
    ("held-namespaces", held::namespaces),
    ("empty-namespace", held::empty),
    ("time-namespace", namespaces::time),
    ("semaphores", ipc::semaphores),
    ("message-queues", ipc::messages),
    ("segments", ipc::segments),
    ("user-namespaces", users::nested),
    ("seccomp-filters", seccomp::filters),
    ("seccomp-listener", seccomp::listener),
    ("seccomp-silent", seccomp::silent),
    ("seccomp-strict", seccomp::strict),
    ("pid-namespaces", namespaces::nested_pids),
    ("nested-proc", namespaces::nested_proc),
    ("processor", processor::registers),
    ("unix-pairs", sockets::pairs),
    ("unix-settings", sockets::settings),
    ("netlink", netlink::netlink),
    ("packet", netlink::packet),
    ("refused-sockets", netlink::refused),
    ("syslog", syslog::daemon),
    ("unix-streams", named::streams),
    ("unix-datagrams", named::datagrams),
    ("unix-descriptors", messages::descriptors),
    ("unix-credentials", messages::credentials),
    ("processes-of-crowd", crowd::processes),
    ("threads-of-crowd", crowd::threads),
    ("memory-of-crowd", crowd::memory),
    ("files-of-crowd", crowd::files),
];

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    if let Some(file) = std::env::args().nth(2) {
        demo::part(&name, &file);
    }
    let Some((_, set_up)) = SCENARIOS.iter().find(|(known, _)| *known == name) else {
        println!("there is no scenario {name:?}");
        std::process::exit(2);
    };
    let mut verify = set_up();
    say("ready");
    for line in std::io::stdin().lock().lines() {
        if let Err(error) = line {
            return say(&format!("failed to read a line: {error}"));
        }
        let wrong = verify();
        match wrong.is_empty() {
            true => say("ok"),
            false => wrong.iter().for_each(|words| say(words)),
        }
    }
}

fn say(words: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(std::io::stdout(), "{words}");
}

/// A complaint, if two things that should be the same are not.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Option<String> {
    (found != wanted).then(|| format!("{what}: {found:?} where {wanted:?} was"))
}
