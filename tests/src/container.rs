//! A container: a process in namespaces of its own, with a mount table of its own.
//!
//! Kind: effect. The process is `cat`, which waits on a pipe that the lab holds:
//! it ends when the container is dropped or when the lab dies.

use crate::lab::Lab;
use crate::mounting::{self, Depth, Kind};
use crate::rootfs;
use crate::sys::{keep_to_streams, start_child};
use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chdir, chroot, getpid, pivot_root};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How the workload comes to have its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enter {
    /// pivot_root(2), and the host's mounts are gone.
    Pivot,
    /// chroot(2): the host's mounts are still there, out of reach.
    Chroot,
    /// Not at all.
    Stay,
}

/// What a container is like, but for its mounts.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its root directory, seen from the host side; filled if it is empty.
    pub root: PathBuf,
    /// Namespaces of its own besides that of mounts.
    pub namespaces: CloneFlags,
    /// How it gets into its root.
    pub enter: Enter,
    /// What it runs.
    pub program: Program,
}

/// What a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// `cat`, which waits on a pipe that the lab holds.
    Cat,
    /// A command in the container that is told lines and says some ([`Container::say`]).
    Talking(Vec<String>),
}

impl Spec {
    /// A container that pivots into `root` and has all its own namespaces.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            namespaces: CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWPID,
            enter: Enter::Pivot,
            program: Program::Cat,
        }
    }
}

/// Where a container is being built: its mounts are made beneath `root`.
#[derive(Debug)]
pub struct Site<'a> {
    root: &'a Path,
}

impl Site<'static> {
    /// The container itself, seen from inside.
    pub fn inside() -> Self {
        Self {
            root: Path::new("/"),
        }
    }
}

impl Site<'_> {
    /// Where a path of the container is now.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Mounts a new file system in the container.
    pub fn mount(
        &self,
        fs: &str,
        source: &str,
        at: &str,
        attributes: &str,
        options: &str,
    ) -> Result<()> {
        mounting::new(fs, source, &self.directory(at)?, attributes, options)
    }

    /// Binds something of the host, or what [`Site::at`] names, with these attributes.
    pub fn bind(&self, from: &Path, at: &str, attributes: &str) -> Result<()> {
        let to = match from.is_dir() {
            true => self.directory(at)?,
            false => self.file(at)?,
        };
        mounting::bind(from, &to, Depth::One)?;
        mounting::attributes(&to, attributes)
    }

    /// Makes sure that there is a directory.
    pub fn directory(&self, at: &str) -> Result<PathBuf> {
        let path = self.at(at);
        if !path.is_dir() {
            fs::create_dir_all(&path).with_context(|| format!("mkdir({path:?})"))?;
        }
        Ok(path)
    }

    /// Makes sure that there is something that is no directory.
    pub fn file(&self, at: &str) -> Result<PathBuf> {
        let path = self.at(at);
        if !path.exists() {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            File::create(&path).with_context(|| format!("open({path:?}, O_CREAT)"))?;
        }
        Ok(path)
    }
}

/// A running container. Dropping it ends it.
#[derive(Debug)]
pub struct Container {
    /// The workload, as the host side numbers it.
    pub pid: Pid,
    /// The lab's own child: the workload, or what waits for it.
    child: Pid,
    input: File,
    output: BufReader<File>,
}

impl Container {
    /// Makes a container. `build` makes its mounts from the host side, in the
    /// container's namespace, where every mount is a slave of the host's;
    /// `inside` runs after the container has entered its root.
    pub fn start(
        _lab: &Lab,
        spec: &Spec,
        build: impl FnOnce(&Site<'_>) -> Result<()>,
        inside: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let (stdin, life) = pipe_with(PipeFlags::CLOEXEC)?;
        let (answers, report) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let report = File::from(report);
        // Moved, so that no process but the workload keeps the ends open.
        let ends = Ends {
            report,
            stdin,
            stdout,
        };
        let child = start_child(move || run(spec, ends, build, inside))?;
        let mut container = Self {
            pid: child,
            child,
            input: File::from(life),
            output: BufReader::new(File::from(output)),
        };
        container.pid = read_answer(answers)?;
        Ok(container)
    }

    /// Tells its program a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes())?)
    }

    /// The next line that its program says; an empty one if it has ended.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// A path by which the host side reaches into the container.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have ended by itself; then there is only its status to collect.
        let _ = kill(self.pid, Signal::SIGKILL);
        if self.pid == self.child {
            let _ = kill(self.child, Signal::SIGKILL);
        }
        let _ = waitpid(self.child, None);
    }
}

/// The ends of the pipes that a container has.
struct Ends {
    report: File,
    stdin: OwnedFd,
    stdout: OwnedFd,
}

/// The pid, once the workload runs: then all other ends of the pipe are closed.
fn read_answer(answers: OwnedFd) -> Result<Pid> {
    let mut text = String::new();
    File::from(answers).read_to_string(&mut text)?;
    let (pid, rest) = text.split_once('\n').unwrap_or(("", &text));
    if !rest.is_empty() {
        bail!("failed to make the container: {rest}");
    }
    let number = pid
        .parse()
        .context("the container ended while it was made")?;
    Ok(Pid::from_raw(number))
}

/// The first process: it makes the namespaces, and is or starts the workload.
fn run(
    spec: &Spec,
    mut ends: Ends,
    build: impl FnOnce(&Site<'_>) -> Result<()>,
    inside: impl FnOnce() -> Result<()>,
) -> i32 {
    let Err(error) = make_namespaces(spec) else {
        if !spec.namespaces.contains(CloneFlags::CLONE_NEWPID) {
            let _ = writeln!(ends.report, "{}", getpid());
            return workload(spec, ends, build, inside);
        }
        return watch(spec, ends, build, inside);
    };
    let _ = write!(ends.report, "0\n{error:#}");
    1
}

/// Starts the first process of a pid namespace and waits for it.
fn watch(
    spec: &Spec,
    ends: Ends,
    build: impl FnOnce(&Site<'_>) -> Result<()>,
    inside: impl FnOnce() -> Result<()>,
) -> i32 {
    // The pid has to be the first line, and only this process knows it.
    let Ok((go, hold)) = pipe_with(PipeFlags::CLOEXEC) else {
        return 1;
    };
    let Ok(mut report) = ends.report.try_clone() else {
        return 1;
    };
    let held = File::from(hold);
    let started = start_child(|| {
        let _ = File::from(go).read(&mut [0]);
        workload(spec, ends, build, inside)
    });
    let Ok(pid) = started else { return 1 };
    let _ = writeln!(report, "{pid}");
    drop(report);
    let _ = (&held).write_all(b"!");
    let _ = waitpid(pid, None);
    0
}

fn make_namespaces(spec: &Spec) -> Result<()> {
    let flags = CloneFlags::CLONE_NEWNS | spec.namespaces;
    unshare(flags).with_context(|| format!("unshare({flags:?})"))
}

/// Builds the mounts, enters the root and becomes `cat`.
fn workload(
    spec: &Spec,
    ends: Ends,
    build: impl FnOnce(&Site<'_>) -> Result<()>,
    inside: impl FnOnce() -> Result<()>,
) -> i32 {
    let Ends {
        mut report,
        stdin,
        stdout,
    } = ends;
    let made = prepare(spec, build).and_then(|()| inside());
    let made = made.and_then(|()| keep_to_streams());
    let error = match made {
        Ok(()) => {
            let mut command = command(&spec.program, stdout);
            let failed = command.stdin(Stdio::from(stdin)).exec();
            anyhow::Error::new(failed).context("exec the container's program")
        }
        Err(error) => error,
    };
    let _ = write!(report, "{error:#}");
    1
}

/// Standard error is where the complaints of a talking program go that cannot talk.
fn command(program: &Program, stdout: OwnedFd) -> Command {
    match program {
        Program::Cat => Command::new("/bin/cat"),
        Program::Talking(words) => {
            let mut command = Command::new(&words[0]);
            let errors = stdout.try_clone().map_or(Stdio::null(), Stdio::from);
            command.args(&words[1..]).stdout(stdout).stderr(errors);
            command
        }
    }
}

fn prepare(spec: &Spec, build: impl FnOnce(&Site<'_>) -> Result<()>) -> Result<()> {
    mounting::propagation(Path::new("/"), Kind::Slave, Depth::Tree)?;
    if spec.enter != Enter::Stay {
        mounting::bind(&spec.root, &spec.root, Depth::One)?;
    }
    build(&Site { root: &spec.root })?;
    enter(spec)?;
    keep_to_streams()
}

fn enter(spec: &Spec) -> Result<()> {
    if spec.enter == Enter::Stay {
        return Ok(());
    }
    chdir(&spec.root)?;
    if spec.enter == Enter::Chroot {
        return chroot(".").context("chroot(\".\")");
    }
    pivot_root(".", ".").context("pivot_root(\".\", \".\")")?;
    umount2(".", MntFlags::MNT_DETACH).context("umount2(\".\", MNT_DETACH)")?;
    chdir("/").context("chdir(\"/\")")
}

impl Lab {
    /// A new root directory in the scratch directory, with a shell in it.
    pub fn root(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path)?;
        rootfs::fill(&path)?;
        Ok(path)
    }
}
