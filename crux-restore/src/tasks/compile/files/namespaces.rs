//! Descriptors of namespaces (`/proc/PID/ns/*`).
//!
//! Kind: pure. One that its opener is in, it finds at itself; any other was kept by who made it (`Numbers::kept`). A pid
//! namespace is opened by a process that is in it, and others take it from there (`late`): /proc is the caller's, and
//! numbers in it are those of other processes.

use crate::tasks::compile::namespaces::Kind;
use crate::tasks::compile::{Compiler, users};
use crux_image::tasks::{FileIndex, OpenNamespace, OpenTarget, Process, ProcessIndex, Tasks};
use crux_script::{Call, LineId, arguments};

const FLAGS: i32 = libc::O_RDONLY | libc::O_CLOEXEC;

/// Whether a file is a namespace that cannot be opened before all processes are there.
pub(super) fn is_late(target: &OpenTarget) -> bool {
    matches!(target, OpenTarget::Namespace(OpenNamespace::Pid(_)))
}

/// Who opens a namespace that only somebody in it can open, if the opener is not.
pub(super) fn insider(
    tasks: &Tasks,
    opener: ProcessIndex,
    target: &OpenTarget,
) -> Option<ProcessIndex> {
    let OpenTarget::Namespace(namespace @ OpenNamespace::Pid(_)) = *target else {
        return None;
    };
    let inside = |it: &Process| it.mount_namespace.is_some() && is_in(tasks, it, namespace);
    match inside(&tasks.processes[opener.at()]) {
        true => None,
        false => Some(tasks.processes.iter().position(inside)?.into()),
    }
}

/// What a process is in while it opens files: it enters its user namespace last.
fn is_in(tasks: &Tasks, process: &Process, namespace: OpenNamespace) -> bool {
    match namespace {
        OpenNamespace::User(user) => user == users::born(tasks),
        // Where it is in the end, others are earlier.
        OpenNamespace::Mount(_) => false,
        other => OpenNamespace::of(process, other.kind()) == Some(other),
    }
}

impl Compiler<'_> {
    pub(super) fn open_namespace(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        namespace: OpenNamespace,
    ) {
        let fd = match is_in(self.tasks, process, namespace) {
            true => self.open_in_proc(at, &format!("thread-self/ns/{}", namespace.kind())),
            false => match self.kept_namespace(namespace) {
                Some(number) => self.reopen(at, number, FLAGS),
                None => return self.refuse_namespace_of(process, namespace),
            },
        };
        self.keep(at, fd, self.numbers.file(index));
    }

    /// The number at which all processes find a namespace; none where it is the caller's, in which the first is not.
    fn kept_namespace(&self, namespace: OpenNamespace) -> Option<u32> {
        let kind = match namespace {
            OpenNamespace::Mount(at) => return Some(self.numbers.namespace(at).0),
            OpenNamespace::User(at) => return Some(self.numbers.user(at?)),
            OpenNamespace::Pid(_) => return None,
            OpenNamespace::Uts(_) => Kind::Uts,
            OpenNamespace::Ipc(_) => Kind::Ipc,
            OpenNamespace::Net(_) => Kind::Net,
            OpenNamespace::Cgroup(_) => Kind::Cgroup,
            OpenNamespace::Time(_) => Kind::Time,
        };
        let wanted = namespace.position();
        let there = wanted.is_some() || kind.born(self.tasks).is_none();
        there.then(|| self.numbers.kept(kind, wanted))
    }

    /// By a process that is in it.
    pub(super) fn open_late_namespace(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        namespace: OpenNamespace,
    ) {
        if !is_in(self.tasks, process, namespace) {
            return self.refuse_namespace_of(process, namespace);
        }
        let fd = self.open_in_proc(at, "thread-self/ns/pid");
        self.keep(at, fd, self.numbers.file(index));
    }

    fn open_in_proc(&mut self, at: ProcessIndex, path: &str) -> LineId {
        let proc = self.numbers.proc.unwrap_or(0);
        let path = self.string(path.as_bytes());
        self.call(
            at,
            Call::new(libc::SYS_openat).with(arguments![proc, path, FLAGS]),
        )
    }

    fn refuse_namespace_of(&mut self, process: &Process, namespace: OpenNamespace) {
        let kind = namespace.kind();
        let what = match namespace.position() {
            Some(_) => format!("it has a descriptor of a {kind} namespace that no process is in"),
            None => format!(
                "it has a descriptor of the caller's {kind} namespace, where the first process is not, \
                 which cannot be restored yet"
            ),
        };
        self.refuse(process, what);
    }
}
