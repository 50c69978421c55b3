//! The executables under test: where they are, and running them.
//!
//! Kind: effect. Programs run in the namespaces of the calling process; none
//! outlives it, and none runs for ever.

use crate::patience::patience;
use crate::sys::die_with_parent;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// After this a program is taken to hang.
const PATIENCE: u64 = 120;

/// The executables, by path.
#[derive(Debug, Clone)]
pub struct Programs {
    /// crux-dump
    pub dump: PathBuf,
    /// crux-restore
    pub restore: PathBuf,
    /// crux-image
    pub image: PathBuf,
    /// crux-workload
    pub workload: PathBuf,
}

/// What a program left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: String,
}

impl Output {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// This output, if the program succeeded.
    pub fn success(self, what: &str) -> Result<Self> {
        ensure!(
            self.status.success(),
            "{what}: {}\n{}",
            self.status,
            self.stderr.trim_end()
        );
        Ok(self)
    }
}

impl Programs {
    /// The executables beside the running one (`target/PROFILE`), where cargo puts them. `cargo xtask test --without` puts another
    /// in the place of one, by its path in the environment.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().context("no path of this program")?;
        let places: Vec<&Path> = own.ancestors().skip(1).take(2).collect();
        let mut programs = Self::in_one_of(&places)?;
        if let Some(dump) = std::env::var_os("CRUX_TESTS_DUMP") {
            programs.dump = dump.into();
        }
        Ok(programs)
    }

    /// The executables in a directory.
    pub fn beneath(directory: &Path) -> Result<Self> {
        Self::in_one_of(&[directory])
    }

    /// Runs `crux-dump --mounts-only` to its end.
    pub fn dump<S: AsRef<OsStr>>(
        &self,
        pid: impl Display,
        images: &Path,
        options: &[S],
    ) -> Result<Output> {
        let pid = pid.to_string();
        let fixed = ["--pid", &pid, "--mounts-only", "--images"].map(OsStr::new);
        let options = options.iter().map(AsRef::as_ref);
        let arguments = fixed.into_iter().chain([images.as_os_str()]).chain(options);
        Running::start(&self.dump, arguments)?.finish()
    }

    /// Runs `crux-dump` of processes to its end.
    pub fn dump_tasks<S: AsRef<OsStr>>(
        &self,
        pid: impl Display,
        images: &Path,
        options: &[S],
    ) -> Result<Output> {
        let pid = pid.to_string();
        let fixed = ["--pid", &pid, "--images"].map(OsStr::new);
        let options = options.iter().map(AsRef::as_ref);
        let arguments = fixed.into_iter().chain([images.as_os_str()]).chain(options);
        Running::start(&self.dump, arguments)?.finish()
    }

    /// Starts `crux-restore` of tasks.
    pub fn restore_tasks<S: AsRef<OsStr>>(&self, images: &Path, options: &[S]) -> Result<Running> {
        let options = options.iter().map(AsRef::as_ref);
        let arguments = [OsStr::new("--images"), images.as_os_str()];
        Running::start(&self.restore, arguments.into_iter().chain(options))
    }

    /// The same, telling the first process a line at once: and what it said first, as soon as it has.
    pub fn restore_tasks_until_said<S: AsRef<OsStr>>(
        &self,
        images: &Path,
        options: &[S],
        line: &str,
    ) -> Result<(Running, Vec<u8>)> {
        let options = options.iter().map(AsRef::as_ref);
        let arguments = [OsStr::new("--images"), images.as_os_str()];
        let arguments = arguments.into_iter().chain(options);
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut running = Running::start_with(&self.restore, arguments, |_| Ok(theirs.into()))?;
        running.say(line)?;
        let said = first_words(ours)?;
        Ok((running, said))
    }

    /// Starts `crux-restore --mounts-only`; a COMMAND goes into the options, after `--`.
    pub fn restore<S: AsRef<OsStr>>(&self, images: &Path, options: &[S]) -> Result<Running> {
        let fixed = ["--mounts-only", "--images"].map(OsStr::new);
        let options = options.iter().map(AsRef::as_ref);
        let arguments = fixed.into_iter().chain([images.as_os_str()]).chain(options);
        Running::start(&self.restore, arguments)
    }

    /// The same as [`Self::restore`], with a COMMAND that says something: what it said first, as soon as it has.
    pub fn restore_until_said<S: AsRef<OsStr>>(
        &self,
        images: &Path,
        options: &[S],
    ) -> Result<(Running, Vec<u8>)> {
        let fixed = ["--mounts-only", "--images"].map(OsStr::new);
        let options = options.iter().map(AsRef::as_ref);
        let arguments = fixed.into_iter().chain([images.as_os_str()]).chain(options);
        until_said(&self.restore, arguments)
    }

    /// Runs `crux-image VERB DIR...` to its end.
    pub fn image(&self, verb: &str, directories: &[&Path]) -> Result<Output> {
        let directories = directories.iter().map(|path| path.as_os_str());
        let arguments = std::iter::once(OsStr::new(verb)).chain(directories);
        Running::start(&self.image, arguments)?.finish()
    }

    fn in_one_of(places: &[&Path]) -> Result<Self> {
        let find = |name: &str| match places.iter().find(|at| at.join(name).is_file()) {
            Some(at) => Ok(at.join(name)),
            None => bail!("{name} is not built: run `cargo build --bins` first"),
        };
        Ok(Self {
            dump: find("crux-dump")?,
            restore: find("crux-restore")?,
            image: find("crux-image")?,
            workload: find("crux-workload")?,
        })
    }
}

/// A program that was started with a pipe as its standard input, and waits for
/// that to end. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts a program.
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        Self::start_with(program, arguments, |printed| {
            Ok(printed.try_clone()?.into())
        })
    }

    /// The same, with another standard output than the file that [`Self::printed`] reads.
    fn start_with<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        stdout: impl FnOnce(&File) -> Result<Stdio>,
    ) -> Result<Self> {
        let printed = File::from(memfd_create("stdout", MemfdFlags::CLOEXEC)?);
        let stderr = File::from(memfd_create("stderr", MemfdFlags::CLOEXEC)?);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(stdout(&printed)?)
            .stderr(stderr.try_clone()?);
        let child = die_with_parent(&mut command)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        Ok(Self {
            child,
            stdout: printed,
            stderr,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it has started and that have not been waited for.
    pub fn children(&self) -> Vec<u32> {
        children(self.id())
    }

    /// Gives it a line to read.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let pipe = self.child.stdin.as_mut().context("its input is closed")?;
        // In one write: who reads a byte and ends does not wait for the rest.
        Ok(pipe.write_all(format!("{line}\n").as_bytes())?)
    }

    /// What it has printed so far.
    pub fn printed(&mut self) -> Result<Vec<u8>> {
        contents(&mut self.stdout)
    }

    /// What it has complained of so far.
    pub fn complained(&mut self) -> Result<Vec<u8>> {
        contents(&mut self.stderr)
    }

    /// Waits until COMMAND, which is `cat`, runs, and gives its pid. `cat` echoes a
    /// line; nothing else tells from outside that a program has got that far.
    pub fn wait_for_cat(mut self) -> Result<(Self, u32)> {
        // A program that has ended already says below what was wrong.
        let _ = self.say("ready");
        let start = Instant::now();
        while !self.printed()?.ends_with(b"ready\n") {
            if self.ended()?.is_some() || start.elapsed() > patience(PATIENCE) {
                let output = self.finish()?.success("crux-restore")?;
                bail!("COMMAND did not run: {output:?}");
            }
            std::thread::yield_now();
        }
        let pid = self.descendant(&["/bin/cat"]);
        Ok((self, pid.context("COMMAND is no descendant")?))
    }

    /// Whether it has ended; if so, how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The process, this one or a descendant, that runs with these arguments.
    pub fn descendant(&self, arguments: &[&str]) -> Option<u32> {
        let wanted: Vec<u8> = arguments
            .iter()
            .flat_map(|word| [word.as_bytes(), b"\0"].concat())
            .collect();
        let mut open = vec![self.id()];
        while let Some(pid) = open.pop() {
            if fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted) {
                return Some(pid);
            }
            open.extend(children(pid));
        }
        None
    }

    /// Ends its input and waits for it.
    pub fn finish(mut self) -> Result<Output> {
        drop(self.child.stdin.take());
        let hung = self.ended()?.is_none() && !self.ends_in_time()?;
        if hung {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        let stderr = String::from_utf8_lossy(&contents(&mut self.stderr)?).into_owned();
        ensure!(!hung, "hung for {PATIENCE} s, and said: {stderr}");
        let stdout = contents(&mut self.stdout)?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl Running {
    /// Waits for a program that has not been waited for.
    fn ends_in_time(&self) -> Result<bool> {
        let pid = Pid::from_child(&self.child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
        let limit = Timespec::try_from(patience(PATIENCE))?;
        let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))?;
        Ok(ended != 0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has been waited for, which is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program: what it said first, as soon as it has.
pub fn until_said<'a>(
    program: &Path,
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> Result<(Running, Vec<u8>)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let running = Running::start_with(program, arguments, |_| Ok(theirs.into()))?;
    Ok((running, first_words(ours)?))
}

fn first_words(pipe: OwnedFd) -> Result<Vec<u8>> {
    let mut said = vec![0; 4096];
    let length = File::from(pipe).read(&mut said)?;
    said.truncate(length);
    Ok(said)
}

/// The children of a process. Not from /proc/PID/task/TID/children: not every kernel has that.
pub fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|&pid| parent_of(pid) == Some(parent))
        .collect()
}

/// The second word after the name, which is in brackets and can hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&stat).into_owned();
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The descriptor's offset belongs to the program as well: read from elsewhere.
fn contents(file: &mut File) -> Result<Vec<u8>> {
    use std::os::fd::AsRawFd as _;
    let mut bytes = Vec::new();
    let mut again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    again.rewind()?;
    again.read_to_end(&mut bytes)?;
    Ok(bytes)
}
