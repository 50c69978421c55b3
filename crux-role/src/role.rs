//! Starting a role, and seeing it end.
//!
//! Kind: effect. A role dies with whoever started it, and with the [`Role`] that stands for it.

use crate::capabilities::{Bounding, Capability, confine};
use crate::channel::{Bound, CarryError, Channel, ChannelError};
use crate::filter::Program;
use crate::landlock;
use crate::sys::{close_all_but, close_from_but};
use crux_mount::sys;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process, set_parent_process_death_signal,
    waitpid,
};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Bytes of what a role says when it cannot begin.
const GREETING: Bound = Bound {
    bytes: 4 << 10,
    descriptors: 0,
};

/// The exit status of a role that panicked; no errno is as high.
const PANICKED: i32 = 255;

/// What a role is left with.
#[derive(Debug)]
pub struct Spec {
    /// For messages ("planner"), and for ps(1), after "crux-".
    pub name: &'static str,
    /// The capabilities that it keeps, if the process has them.
    pub keep: &'static [Capability],
    /// Whether what it executes gets more than that.
    pub bounding: Bounding,
    /// Its filter. None where it makes tasks, which would inherit it.
    pub filter: Option<Program>,
    /// Its descriptors besides its channel.
    pub stdio: Stdio,
    /// Which files it may open or change by name.
    pub files: Files,
    /// How long it may take for a turn.
    pub patience: Duration,
}

/// What 0, 1 and 2 are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// As the caller has them.
    Callers,
    /// /dev/null, but for standard error.
    Errors,
}

/// What of the file system a role may reach by name. Descriptors that it is given are
/// not limited. Nothing but [`Files::Unlimited`] goes with mounting: Landlock forbids that.
#[derive(Debug)]
pub enum Files {
    /// Whatever its capabilities and its filter leave.
    Unlimited,
    /// Nothing, where the kernel has Landlock.
    None,
    /// What is beneath these directories, where the kernel has Landlock.
    Beneath(Vec<Beneath>),
}

/// A directory, and what a role may do with what is in it, at any depth.
#[derive(Debug)]
pub struct Beneath {
    /// A descriptor of it; one of the path alone (`O_PATH`) will do.
    pub directory: OwnedFd,
    /// What may be done.
    pub access: Access,
}

/// What a role may do beneath a directory. Several rules add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Regular files are made, written and read back.
    NewFiles,
    /// Files and directories are read.
    Read,
    /// Files that are there are written.
    Write,
    /// Files that are there are written; directories are made and removed.
    Directories,
}

/// A process with one job.
#[derive(Debug)]
pub struct Role {
    name: &'static str,
    pid: Pid,
    channel: Channel,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Running,
    Reaped,
}

/// A role that did not do its job.
#[derive(Debug, thiserror::Error)]
#[error("let the {name} do its work: {cause}{status}")]
pub struct RoleError {
    name: &'static str,
    cause: String,
    status: String,
}

impl Role {
    /// Starts a role in a process of its own, which does `work` and ends.
    pub fn start(
        spec: Spec,
        work: impl FnOnce(&Channel) -> Result<(), ChannelError>,
    ) -> Result<Self, RoleError> {
        let fail = |cause: String| RoleError {
            name: spec.name,
            cause,
            status: String::new(),
        };
        let supervisor = rustix::process::getpid();
        let (ours, theirs) = Channel::pair(spec.patience).map_err(|e| fail(e.to_string()))?;
        let Some(pid) = sys::fork().map_err(|error| fail(error.to_string()))? else {
            // The parent's frames are not ours to unwind into.
            let done = catch_unwind(AssertUnwindSafe(|| live(&spec, supervisor, &theirs, work)));
            sys::exit_now(done.unwrap_or(PANICKED));
        };
        Ok(Self {
            name: spec.name,
            pid,
            channel: ours,
            state: State::Running,
        })
    }

    /// Waits until everything that the role is not to have is gone.
    pub fn ready(&mut self) -> Result<(), RoleError> {
        let (begun, _) = self.receive::<Result<(), String>>(GREETING)?;
        begun.map_err(|cause| self.failed(cause, String::new()))
    }

    /// Tells the role something.
    pub fn send<T: serde::Serialize>(
        &mut self,
        record: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RoleError> {
        let sent = self.channel.send(record, descriptors);
        sent.map_err(|error| self.broken(&error))
    }

    /// The same, for a record that is encoded.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), RoleError> {
        let sent = self.channel.send_bytes(bytes, &[]);
        sent.map_err(|error| self.broken(&error))
    }

    /// Tells another role what this one has to say to it, of at most so many bytes, without looking at it.
    pub fn carry(&mut self, to: &mut Self, bytes: u64) -> Result<(), RoleError> {
        let carried = self.channel.carry(&to.channel, bytes);
        self.carried(to, carried)
    }

    /// The same, for a row of records.
    pub fn carry_row(&mut self, to: &mut Self, bytes: u64) -> Result<(), RoleError> {
        let carried = self.channel.carry_row(&to.channel, bytes);
        self.carried(to, carried)
    }

    fn carried(&mut self, to: &mut Self, carried: Result<(), CarryError>) -> Result<(), RoleError> {
        carried.map_err(|error| match error {
            CarryError::From(error) => self.broken(&error),
            CarryError::To(error) => to.broken(&error),
        })
    }

    /// Hears what the role has to say.
    pub fn receive<T: serde::de::DeserializeOwned>(
        &mut self,
        bound: Bound,
    ) -> Result<(T, Vec<OwnedFd>), RoleError> {
        let received = self.channel.receive(bound);
        received.map_err(|error| self.broken(&error))
    }

    /// The same, for as long as `is_busy` says so whenever the role has been silent for its patience.
    pub fn receive_while<T: serde::de::DeserializeOwned>(
        &mut self,
        bound: Bound,
        mut is_busy: impl FnMut() -> bool,
    ) -> Result<(T, Vec<OwnedFd>), RoleError> {
        loop {
            match self.channel.receive(bound) {
                Err(ChannelError::Silent(_)) if is_busy() => {}
                received => return received.map_err(|error| self.broken(&error)),
            }
        }
    }

    /// The same, without looking at it.
    pub fn receive_bytes(&mut self, bound: Bound) -> Result<Vec<u8>, RoleError> {
        let received = self.channel.receive_bytes(bound);
        received
            .map(|(bytes, _)| bytes)
            .map_err(|error| self.broken(&error))
    }

    /// How long it may take for a turn from here on; none: as long as it likes.
    pub fn wait_for(&mut self, patience: Option<Duration>) -> Result<(), RoleError> {
        let set = self.channel.wait_for(patience);
        set.map_err(|error| self.broken(&error))
    }

    /// Has the role end, whatever it is doing. Its end is waited for when it is dropped.
    pub fn stop(&mut self) {
        if self.state == State::Running {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// Ends the role, whatever it is doing, and waits for its end.
    pub fn end(mut self) {
        self.kill();
    }

    /// Waits for the end of a role that was told to end.
    pub fn wait(mut self) {
        self.state = State::Reaped;
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }

    /// Lets the role live on by itself: it has said that it does not depend on this process any more.
    pub fn leave(mut self) {
        self.state = State::Reaped;
    }

    fn broken(&mut self, error: &ChannelError) -> RoleError {
        // A process that is ending already keeps the status that it ends with.
        let status = match self.kill() {
            Some(status) if matches!(error, ChannelError::Ended) => describe(status),
            _ => String::new(),
        };
        self.failed(error.to_string(), status)
    }

    fn failed(&self, cause: String, status: String) -> RoleError {
        RoleError {
            name: self.name,
            cause,
            status,
        }
    }

    fn kill(&mut self) -> Option<WaitStatus> {
        if self.state == State::Reaped {
            return None;
        }
        self.stop();
        self.state = State::Reaped;
        let waited = waitpid(Some(self.pid), WaitOptions::empty());
        waited.ok().flatten().map(|(_, status)| status)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(libc::SIGSYS), _) => {
            " (SIGSYS: it made a system call that its filter does not allow)".to_owned()
        }
        (Some(signal), _) => format!(" (signal {signal})"),
        (None, Some(PANICKED)) => " (it panicked)".to_owned(),
        (None, Some(errno @ 1..)) => {
            let cause = std::io::Error::from_raw_os_error(errno);
            format!(" (sendmsg or recvmsg: {cause})")
        }
        (None, _) => String::new(),
    }
}

/// In the child.
fn live(
    spec: &Spec,
    supervisor: Pid,
    channel: &Channel,
    work: impl FnOnce(&Channel) -> Result<(), ChannelError>,
) -> i32 {
    let begun = shed(spec, supervisor, channel);
    let told = channel.send(&begun, &[]);
    let done = told.and_then(|()| begun.map_or(Ok(()), |()| work(channel)));
    // Where messages fail there is no other way to say so.
    match done {
        Err(ChannelError::Call { errno, .. }) => errno.raw_os_error(),
        _ => 0,
    }
}

/// Gives up everything that the role is not to have.
fn shed(spec: &Spec, supervisor: Pid, channel: &Channel) -> Result<(), String> {
    let died = |call: &'static str| move |errno| format!("{call}: {}", std::io::Error::from(errno));
    set_name(spec.name).map_err(died("prctl(PR_SET_NAME)"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(died("prctl(PR_SET_PDEATHSIG)"))?;
    // RACE: the supervisor may have died before the signal was set.
    if getppid() != Some(supervisor) {
        return Err("its supervisor has gone".to_owned());
    }
    if spec.stdio == Stdio::Errors {
        silence().map_err(died("open(\"/dev/null\")"))?;
    }
    match &spec.files {
        Files::Unlimited => {}
        Files::None => landlock::limit(&[])?,
        Files::Beneath(rules) => landlock::limit(rules)?,
    }
    close_all_but(3, channel.as_fd()).map_err(died("close_range"))?;
    confine(spec.keep, spec.bounding).map_err(|error| error.to_string())?;
    match &spec.filter {
        Some(program) => program.install().map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

/// Closes every descriptor but 0, 1 and 2 that this process was started with, and those of `kept`. To be
/// called before it opens any others of its own.
pub fn close_inherited(kept: &[OwnedFd]) -> rustix::io::Result<()> {
    close_from_but(3, kept)
}

fn set_name(role: &str) -> rustix::io::Result<()> {
    let name = std::ffi::CString::new(format!("crux-{role}")).unwrap_or_default();
    rustix::thread::set_name(&name)
}

fn silence() -> rustix::io::Result<()> {
    let null = openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)
}
