//! Every system call of a restore and of a dump made to fail, and each program killed at each of
//! them: the exit code and one line say what happened, and nothing is left.
//!
//! Which calls a run makes is counted first. Then call after call of each kind fails once,
//! until there is none left to fail. `CRUX_FAULTS=all` tries every one, also of those kinds of
//! which otherwise a sample is taken (reading /proc takes hundreds).

use anyhow::{Context as _, Result, ensure};
use crux_tests::blueprint::{systemd, vivid};
use crux_tests::tracing::{Call, Fault, Traced, When, named, run};
use crux_tests::{Container, Lab, Setup, Table, differences};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Kinds of calls of which every single one is made to fail.
const ALL_OF: [&str; 28] = [
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "openat2",
    "pivot_root",
    "umount2",
    "unshare",
    "setns",
    "mkdirat",
    "statx",
    "chroot",
    "fchdir",
    "statmount",
    "listmount",
    "socketpair",
    "sendmsg",
    "recvmsg",
    "clone",
    "clone3",
    "wait4",
    "close_range",
    "renameat2",
    "fsync",
    "uname",
];

/// Calls that do not fail with these arguments: the standard library and rustix take that for
/// granted, and debug builds look at every descriptor that they close (fcntl).
const CANNOT_FAIL: [&str; 5] = ["capget", "fcntl", "getrandom", "prlimit64", "uname"];

/// Of the others these, and the last.
fn sampled(nth: usize) -> bool {
    nth <= 4 || nth.is_power_of_two() || nth.is_multiple_of(50)
}

fn everything() -> bool {
    std::env::var_os("CRUX_FAULTS").is_some_and(|value| value == "all")
}

/// Names beneath a directory of the lab, with their sizes.
fn files(lab: &Lab) -> Result<BTreeSet<(PathBuf, u64)>> {
    let mut found = BTreeSet::new();
    let mut open = vec![lab.scratch().to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                open.push(entry.path());
            }
            found.insert((entry.path(), if about.is_dir() { 0 } else { about.len() }));
        }
    }
    Ok(found)
}

/// What the host was like, to compare with.
struct Before {
    host: Table,
    files: BTreeSet<(PathBuf, u64)>,
}

impl Before {
    fn now(lab: &Lab) -> Result<Self> {
        Ok(Self {
            host: Table::own()?,
            files: files(lab)?,
        })
    }

    fn is_now(&self, lab: &Lab) -> Result<()> {
        let now = Self::now(lab)?;
        ensure!(self.host == now.host, "the host's table changed");
        let news: Vec<_> = now.files.difference(&self.files).collect();
        let gone: Vec<_> = self.files.difference(&now.files).collect();
        ensure!(
            news.is_empty() && gone.is_empty(),
            "files changed: new {news:?}, gone {gone:?}"
        );
        Ok(())
    }
}

type OnSuccess<'a> = dyn Fn(&Traced) -> Result<()> + 'a;

/// A program with its arguments, and what is to be true however it ends.
struct Subject<'a> {
    lab: &'a Lab,
    program: &'a Path,
    arguments: Vec<String>,
    /// Exit codes once another process was started.
    undone: RangeInclusive<i32>,
    /// After a success; it also takes away what a success leaves.
    succeeded: Box<OnSuccess<'a>>,
    /// After SIGKILL; it takes away what that may leave.
    killed: Box<dyn Fn() -> Result<()> + 'a>,
    /// In any case.
    always: Box<dyn Fn() -> Result<()> + 'a>,
}

impl Subject<'_> {
    fn run(&self, fault: Fault) -> Result<Traced> {
        let before = Before::now(self.lab)?;
        let traced = run(self.program, &self.arguments, fault)?;
        if traced.output.status.success() {
            (self.succeeded)(&traced)?;
        }
        if let (Fault::Kill { .. }, Some(_)) = (fault, traced.hit) {
            (self.killed)()?;
        }
        before.is_now(self.lab)?;
        (self.always)()?;
        Ok(traced)
    }

    /// Each call of each kind fails once; all that is wrong, in lines.
    fn with_failures(&self) -> Result<Vec<String>> {
        let clean = self.run(Fault::None)?;
        clean.output.success("without a fault")?;
        let kinds = clean.calls.keys().copied().filter_map(Call::numbered);
        let mut wrong = Vec::new();
        for call in kinds.filter(|call| !CANNOT_FAIL.contains(&call.name)) {
            self.with_failures_of(call, &mut wrong)?;
        }
        Ok(wrong)
    }

    fn with_failures_of(&self, call: Call, wrong: &mut Vec<String>) -> Result<()> {
        let each = ALL_OF.contains(&call.name) || everything();
        for nth in (1..).filter(|nth| each || sampled(*nth)) {
            let errno = Errno::EIO;
            let fault = Fault::Fail { call, nth, errno };
            let about = || format!("{} {nth}", call.name);
            let traced = match self.run(fault) {
                Ok(traced) => traced,
                Err(error) => {
                    wrong.push(format!("{}: {error:#}", about()));
                    return Ok(());
                }
            };
            let Some(when) = traced.hit else {
                // None is left: this was another run without a fault.
                traced.output.success(&about())?;
                return Ok(());
            };
            if let Err(error) = is_answer(&traced, when, call, self.undone.clone()) {
                wrong.push(format!("{}: {error:#}: {}", about(), traced.output.stderr));
            }
        }
        Ok(())
    }

    /// SIGKILL at call after call; nothing may be left, and what follows works.
    fn killed(&self, step: usize) -> Result<()> {
        for nth in (1..).step_by(step) {
            let traced = self
                .run(Fault::Kill { nth })
                .with_context(|| format!("killed at {nth}"))?;
            if traced.hit.is_none() {
                traced.output.success("after being killed")?;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// How a program answers a call that failed.
fn is_answer(traced: &Traced, when: When, call: Call, undone: RangeInclusive<i32>) -> Result<()> {
    let output = &traced.output;
    let code = output.code().context("a signal ended it")?;
    if code == 0 {
        return Ok(());
    }
    let allowed = match when {
        When::Before => 2..=6,
        When::After => undone,
    };
    ensure!(allowed.contains(&code), "exit code {code}");
    let lines: Vec<&str> = output.stderr.lines().collect();
    let (first, list) = lines.split_first().context("it says nothing")?;
    ensure!(
        first.starts_with("Error: failed to "),
        "no \"Error: failed to\""
    );
    ensure!(
        list.iter().all(|line| line.starts_with("  ")),
        "more than one line"
    );
    let name = shown_as(call);
    ensure!(output.stderr.contains(name), "it does not name {name}");
    ensure!(
        output.stderr.contains("Input/output error"),
        "it does not name the error"
    );
    Ok(())
}

/// What a message calls a system call: as people know it.
fn shown_as(call: Call) -> &'static str {
    match call.name {
        "clone" => "fork()",
        "clone3" => "thread",
        "execve" => "run",
        "lseek" => "seek",
        "ppoll" => "poll",
        "statx" => "stat",
        "flistxattr" => "listxattr",
        name => {
            let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
            name.strip_suffix("at").unwrap_or(name)
        }
    }
}

/// Every optional call, missing on older kernels; without it all is the same.
const OPTIONAL: [&str; 3] = ["statmount", "listmount", "openat2"];

fn no_wrongs(wrong: Vec<String>) -> Result<()> {
    ensure!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

const AUTO: [&str; 2] = ["--external", "auto"];

/// Restores an image again and again; a success shows the table that was dumped.
fn restore<'a>(lab: &'a Lab, images: &Path, table: Table) -> Result<Subject<'a>> {
    let images = images.to_string_lossy().into_owned();
    let fixed = ["--mounts-only", "--images", &images];
    let command = ["--", "/bin/cat", "/proc/self/mountinfo"];
    let arguments = fixed.iter().chain(&AUTO).chain(&command);
    let host = Table::own()?;
    Ok(Subject {
        lab,
        program: &lab.programs.restore,
        // The roles are there before the image is opened.
        undone: 2..=6,
        arguments: arguments.map(|word| (*word).to_owned()).collect(),
        succeeded: Box::new(move |traced| {
            let restored = Table::parse(&traced.output.stdout)?;
            let different = differences(&table, &restored, &host);
            ensure!(different.is_empty(), "{}", different.join("\n"));
            Ok(())
        }),
        killed: Box::new(|| Ok(())),
        always: Box::new(|| Ok(())),
    })
}

/// Dumps a container again and again; a success is the same image as the first.
fn dump<'a>(lab: &'a Lab, container: &Container) -> Result<Subject<'a>> {
    let (first, images) = (lab.path("first"), lab.path("images"));
    let pid = container.pid.as_raw().unsigned_abs();
    lab.programs
        .dump(pid, &first, &AUTO)?
        .success("crux-dump")?;
    let (number, place) = (pid.to_string(), images.to_string_lossy().into_owned());
    let fixed = ["--mounts-only", "--pid", &number, "--images", &place];
    let arguments = fixed.iter().chain(&AUTO);
    let table = Table::of(pid)?;
    Ok(Subject {
        lab,
        program: &lab.programs.dump,
        // It may look into namespaces before it knows that it can dump.
        undone: 3..=6,
        arguments: arguments.map(|word| (*word).to_owned()).collect(),
        succeeded: Box::new(move |_| {
            let same = lab.programs.image("diff", &[&first, &images])?;
            ensure!(
                same.status.success(),
                "another image: {}",
                String::from_utf8_lossy(&same.stdout)
            );
            Ok(fs::remove_dir_all(&images)?)
        }),
        killed: Box::new(move || clear_partial(lab, pid)),
        always: Box::new(move || {
            ensure!(Table::of(pid)? == table, "the container's table changed");
            Ok(())
        }),
    })
}

/// A dump that is killed may leave `DIR.partial`, as nobody else could remove it, or the whole
/// image under its name: the next one says so, and all is well when they are removed.
fn clear_partial(lab: &Lab, pid: u32) -> Result<()> {
    let left = [lab.path("images.partial"), lab.path("images")];
    for place in left.iter().filter(|place| place.exists()) {
        let again = lab.programs.dump(pid, &lab.path("images"), &AUTO)?;
        ensure!(again.code() == Some(2), "{}", again.stderr);
        ensure!(again.stderr.contains("exists already"), "{}", again.stderr);
        fs::remove_dir_all(place)?;
    }
    Ok(())
}

/// An image of a container, and its table.
fn image(lab: &Lab, container: Container) -> Result<(PathBuf, Table)> {
    let images = lab.path("images");
    let table = Table::of(container.pid.as_raw().unsigned_abs())?;
    lab.programs
        .dump(container.pid, &images, &AUTO)?
        .success("crux-dump")?;
    Ok((images, table))
}

#[test]
fn root_each_call_of_a_restore_fails_once() {
    Lab::test(Setup::ROOT, |lab| {
        let (images, table) = image(lab, vivid::start(lab)?)?;
        no_wrongs(restore(lab, &images, table)?.with_failures()?)
    });
}

#[test]
fn root_each_call_of_a_restore_of_two_namespaces_fails_once() {
    Lab::test(Setup::ROOT, |lab| {
        let (container, _host) = systemd::start(lab)?;
        let (images, table) = image(lab, container)?;
        no_wrongs(restore(lab, &images, table)?.with_failures()?)
    });
}

#[test]
fn root_each_call_of_a_dump_fails_once() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        no_wrongs(dump(lab, &container)?.with_failures()?)
    });
}

#[test]
fn root_restore_killed_at_any_call_leaves_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let (images, table) = image(lab, vivid::start(lab)?)?;
        restore(lab, &images, table)?.killed(if everything() { 1 } else { 17 })
    });
}

#[test]
fn root_dump_killed_at_any_call_leaves_the_container_alone() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        dump(lab, &container)?.killed(if everything() { 1 } else { 37 })
    });
}

#[test]
fn root_each_optional_call_may_be_missing() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let dump = dump(lab, &container)?;
        let table = Table::of(container.pid.as_raw().unsigned_abs())?;
        let restore = restore(lab, &lab.path("first"), table)?;
        for call in OPTIONAL.map(named) {
            let errno = Errno::ENOSYS;
            for subject in [&dump, &restore] {
                let traced = subject.run(Fault::Always { call, errno })?;
                let what = format!("{} without {}", subject.program.display(), call.name);
                traced.output.success(&what)?;
            }
        }
        Ok(())
    });
}
