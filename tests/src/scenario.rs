//! A scenario: a container that is set up, dumped, ended and restored, and that
//! has to be what it was in its tables, in what propagation does, and in what a
//! workload inside sees.
//!
//! Kind: effect.

use crate::compare::differences_of_all;
use crate::container::{Container, Enter, Site, Spec};
use crate::lab::{Lab, Setup};
use crate::lingering::Lingering;
use crate::probe::{Reach, go_inside, reach_all};
use crate::programs::{Running, children};
use crate::sys::{in_child, start_child};
use crate::table::Table;
use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Uid, getpid, setresgid, setresuid};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The options with which everything external is declared and granted.
pub const AUTO: [&str; 2] = ["--external", "auto"];

/// One container and what is to become of it.
#[derive(Clone)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// Namespaces of its own, besides that of mounts.
    pub namespaces: CloneFlags,
    /// How it gets its root.
    pub enter: Enter,
    /// Makes its mounts, from the host side.
    pub build: fn(&Lab, &Site<'_>) -> Result<()>,
    /// Does the rest from inside.
    pub inside: fn() -> Result<()>,
    /// Options of crux-dump, then of crux-restore.
    pub options: [&'static [&'static str]; 2],
    /// A shell script that has to succeed inside, before the dump and after the restore.
    pub workload: &'static str,
}

impl Case {
    /// A container that pivots, has no other namespaces, and whose externals are granted.
    pub const PLAIN: Self = Self {
        name: "",
        namespaces: CloneFlags::empty(),
        enter: Enter::Pivot,
        build: |_, _| Ok(()),
        inside: || Ok(()),
        options: [&AUTO, &AUTO],
        workload: "true",
    };
}

/// Runs each case in a lab of its own, and panics with all that went wrong.
pub fn all_survive(setup: Setup, cases: &[Case]) {
    let mut failures = Vec::new();
    for case in cases {
        let outcome = Lab::run(setup, |lab| survives(lab, case).map(|()| Vec::new()));
        if let Err(error) = outcome {
            failures.push(format!("{}: {error:#}", case.name));
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} failed\n{}",
        failures.join("\n\n")
    );
}

/// Sets a case up and checks that it comes back.
pub fn survives(lab: &Lab, case: &Case) -> Result<()> {
    let container = start(lab, case)?;
    let memory = dump_and_end(lab, container, case)?;
    restore(lab, &memory, case)
}

/// Sets a case up.
pub fn start(lab: &Lab, case: &Case) -> Result<Container> {
    let mut spec = Spec::new(lab.root("root")?);
    spec.namespaces = case.namespaces;
    spec.enter = case.enter;
    Container::start(lab, &spec, |site| (case.build)(lab, site), case.inside)
}

/// What a container was like.
#[derive(Debug)]
pub struct Memory {
    tables: Vec<Table>,
    reach: Reach,
    host: Table,
}

/// Where the image of a lab goes.
pub fn images(lab: &Lab) -> PathBuf {
    lab.path("images")
}

/// Notes what a container is like, dumps it, sees that it has not changed, and ends it.
pub fn dump_and_end(lab: &Lab, container: Container, case: &Case) -> Result<Memory> {
    let pid = container.pid.as_raw().unsigned_abs();
    let pids = tasks_of_namespaces(pid)?;
    let host = Table::own()?;
    work(pid, case.workload).context("the workload failed before the dump")?;
    let memory = Memory {
        tables: tables(&pids)?,
        reach: reach_all(&pids).context("before the dump")?,
        host,
    };
    let dumped = lab.programs.dump(pid, &images(lab), case.options[0])?;
    dumped.success("crux-dump")?;
    ensure!(
        memory.host == Table::own()?,
        "the dump changed the host's table"
    );
    ensure!(
        memory.tables == tables(&pids)?,
        "the dump changed the container's tables"
    );
    work(pid, case.workload).context("the workload failed after the dump")?;
    Ok(memory)
}

/// Restores and compares. The workload has to succeed as COMMAND.
pub fn restore(lab: &Lab, memory: &Memory, case: &Case) -> Result<()> {
    let script = format!("{}; exec /bin/cat", script(case.workload));
    let command = ["--", "/bin/sh", "-c", &script];
    let options = [case.options[1], &command].concat();
    let started = lab.programs.restore(&images(lab), &options)?;
    let (restored, pid) = started.wait_for_cat()?;
    let others = enter_others(&restored, memory.tables.len() - 1)?;
    let pids: Vec<u32> = std::iter::once(pid)
        .chain(others.iter().map(Lingering::pid))
        .collect();
    compare(memory, &pids)?;
    drop(others);
    restored.finish()?.success("crux-restore")?;
    ensure!(
        Table::own()? == memory.host,
        "the host's table is not what it was"
    );
    Ok(())
}

fn compare(memory: &Memory, pids: &[u32]) -> Result<()> {
    let after = tables(pids)?;
    let pairs: Vec<_> = memory.tables.iter().zip(&after).collect();
    let different = differences_of_all(&pairs, &memory.host);
    let lines = different.join("\n");
    ensure!(
        different.is_empty(),
        "{lines}\nof\n{}",
        shown(&memory.tables)
    );
    ensure!(
        Table::own()? == memory.host,
        "the restore changed the host's table"
    );
    let reach = reach_all(pids).context("after the restore")?;
    ensure!(
        reach == memory.reach,
        "mounts appear elsewhere than before:\n{}\nof\n{}",
        changes(&memory.reach, &reach),
        shown(&memory.tables)
    );
    Ok(())
}

fn shown(tables: &[Table]) -> String {
    let texts: Vec<String> = tables.iter().map(Table::to_string).collect();
    texts.join("and\n")
}

fn changes(before: &Reach, after: &Reach) -> String {
    let places: HashSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = places
        .into_iter()
        .filter(|place| before.get(*place) != after.get(*place));
    let lines = changed.map(|place| {
        let (was, is) = (before.get(place), after.get(place));
        format!("{place}: {was:?} became {is:?}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn tables(pids: &[u32]) -> Result<Vec<Table>> {
    pids.iter().map(Table::of).collect()
}

/// A script as a workload: the first command that fails ends it, and says which.
fn script(text: &str) -> String {
    format!("PATH=/bin; set -e; set -x; {text}; set +x")
}

/// Runs a script inside, as the workload.
fn work(pid: u32, text: &str) -> Result<()> {
    let answer = in_child(|| {
        go_inside(pid)?;
        let mut command = Command::new("/bin/sh");
        // There may be no /dev/null inside.
        command.arg("-c").arg(script(text)).stdin(Stdio::inherit());
        let output = command.output().context("exec /bin/sh")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", output.status);
        Ok(Vec::new())
    });
    answer.map(drop)
}

/// A task of each mount namespace of a container, its own first.
fn tasks_of_namespaces(pid: u32) -> Result<Vec<u32>> {
    let (mut known, mut found, mut open) = (HashSet::new(), Vec::new(), vec![pid]);
    while !open.is_empty() {
        let mut next = Vec::new();
        for pid in open {
            if known.insert(fs::read_link(format!("/proc/{pid}/ns/mnt"))?) {
                found.push(pid);
            }
            let mut below = children(pid);
            below.sort_unstable();
            next.extend(below);
        }
        open = next;
    }
    Ok(found)
}

/// Starts a task in a mount namespace of its own, which `build` goes on with.
/// To be called inside a container, of which it is a child.
pub fn nested(build: impl FnOnce() -> Result<()>) -> Result<()> {
    nested_in(CloneFlags::CLONE_NEWNS, build)
}

/// The same, with more namespaces.
pub fn nested_in(flags: CloneFlags, build: impl FnOnce() -> Result<()>) -> Result<()> {
    let begin = || {
        unshare(flags).with_context(|| format!("unshare({flags:?})"))?;
        build()
    };
    // It ends with its parent, the container's first task.
    Lingering::start(begin).map(Lingering::leave)
}

/// Moves the calling process, which has one thread and a /proc, into a user namespace with this
/// map, as its root, and into a mount namespace that the user namespace owns.
pub fn enter_user_namespace(map: &str) -> Result<()> {
    let (go, made) = pipe_with(PipeFlags::CLOEXEC)?;
    let (done, written) = pipe_with(PipeFlags::CLOEXEC)?;
    let target = getpid();
    let made = File::from(made);
    // Only a process that stays outside may map more than one id.
    let writer = start_child(move || {
        let _ = File::from(go).read(&mut [0]);
        let write = |kind: &str| fs::write(format!("/proc/{target}/{kind}"), map);
        let result = write("uid_map").and_then(|()| write("gid_map"));
        let _ = File::from(written).write_all(if result.is_ok() { b"+" } else { b"-" });
        0
    })?;
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    unshare(flags).with_context(|| format!("unshare({flags:?})"))?;
    (&made).write_all(b"!")?;
    let mut answer = [0];
    File::from(done).read_exact(&mut answer)?;
    waitpid(writer, None)?;
    ensure!(answer == *b"+", "the map {map:?} was not taken");
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).context("setresgid(0)")?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).context("setresuid(0)")?;
    // A change of ids undoes both: being killed with the parent, and being looked at in /proc.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::Dumpable).context("prctl(PR_SET_DUMPABLE)")
}

/// Enters the namespaces besides the first that a restore has made. Nothing runs
/// in them: crux-restore itself holds them, in the order of the image.
fn enter_others(restored: &Running, count: usize) -> Result<Vec<Lingering>> {
    let mut held = held_namespaces(restored.id())?;
    if count == 0 {
        return Ok(Vec::new());
    }
    ensure!(held.len() == count + 1, "crux-restore holds {held:?}");
    let visit = |path: PathBuf| {
        let namespace = File::open(&path).with_context(|| format!("open({path:?})"))?;
        Lingering::start(|| Ok(setns(namespace, CloneFlags::CLONE_NEWNS)?))
    };
    held.drain(1..).map(visit).collect()
}

/// The mount namespaces that a process has descriptors of, by number.
fn held_namespaces(pid: u32) -> Result<Vec<PathBuf>> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("mnt:[") {
            numbers.push(entry.file_name().to_string_lossy().parse::<u32>()?);
        }
    }
    numbers.sort_unstable();
    let path = |number: u32| directory.join(number.to_string());
    Ok(numbers.into_iter().map(path).collect())
}
