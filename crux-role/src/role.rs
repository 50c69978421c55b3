//! Starting a role, and seeing it end.
//!
//! Kind: effect. A role dies with whoever started it, and with the [`Role`] that stands for it.

use crate::capabilities::{Bounding, Capability, confine};
use crate::channel::{Bound, Channel, ChannelError};
use crate::filter::Program;
use crate::sys::close_all_but;
use crux_mount::sys;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getppid, kill_process, set_parent_process_death_signal,
    waitpid,
};
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Bytes of what a role says when it cannot begin.
const GREETING: Bound = Bound {
    bytes: 4 << 10,
    descriptors: 0,
};

/// What a role is left with.
#[derive(Debug)]
pub struct Spec {
    /// For messages: "planner".
    pub name: &'static str,
    /// The capabilities that it keeps, if the process has them.
    pub keep: &'static [Capability],
    /// Whether what it executes gets more than that.
    pub bounding: Bounding,
    /// Its filter. None where it makes tasks, which would inherit it.
    pub filter: Option<Program>,
    /// Its descriptors besides its channel.
    pub stdio: Stdio,
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
    pub fn start(spec: Spec, work: impl FnOnce(&Channel)) -> Result<Self, RoleError> {
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
            sys::exit_now(if done.is_ok() { 0 } else { 101 });
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
        descriptors: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<(), RoleError> {
        let sent = self.channel.send(record, descriptors);
        sent.map_err(|error| self.broken(&error))
    }

    /// The same, for a record that is encoded.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), RoleError> {
        let sent = self.channel.send_bytes(bytes, &[]);
        sent.map_err(|error| self.broken(&error))
    }

    /// Hears what the role has to say.
    pub fn receive<T: serde::de::DeserializeOwned>(
        &mut self,
        bound: Bound,
    ) -> Result<(T, Vec<std::os::fd::OwnedFd>), RoleError> {
        let received = self.channel.receive(bound);
        received.map_err(|error| self.broken(&error))
    }

    /// The same, without looking at it.
    pub fn receive_bytes(&mut self, bound: Bound) -> Result<Vec<u8>, RoleError> {
        let received = self.channel.receive_bytes(bound);
        received
            .map(|(bytes, _)| bytes)
            .map_err(|error| self.broken(&error))
    }

    /// From here on it may take as long as it likes.
    pub fn wait_for_ever(&mut self) -> Result<(), RoleError> {
        let set = self.channel.wait_for_ever();
        set.map_err(|error| self.broken(&error))
    }

    /// Ends the role, whatever it is doing, and waits for its end.
    pub fn end(mut self) {
        self.kill();
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
        self.state = State::Reaped;
        let _ = kill_process(self.pid, Signal::KILL);
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
        (None, code) => format!(" (status {})", code.unwrap_or(0)),
    }
}

/// In the child.
fn live(spec: &Spec, supervisor: Pid, channel: &Channel, work: impl FnOnce(&Channel)) {
    let begun = shed(spec, supervisor, channel);
    let told = channel.send(&begun, &[]);
    if begun.is_ok() && told.is_ok() {
        work(channel);
    }
}

/// Gives up everything that the role is not to have.
fn shed(spec: &Spec, supervisor: Pid, channel: &Channel) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| format!("prctl: {e}"))?;
    // RACE: the supervisor may have died before the signal was set.
    if getppid() != Some(supervisor) {
        return Err("its supervisor has gone".to_owned());
    }
    close_all_but(3, channel.as_fd()).map_err(|e| format!("close_range: {e}"))?;
    if spec.stdio == Stdio::Errors {
        silence().map_err(|e| format!("open(\"/dev/null\"): {e}"))?;
    }
    confine(spec.keep, spec.bounding).map_err(|e| format!("drop capabilities: {e}"))?;
    match &spec.filter {
        Some(program) => program.install().map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

fn silence() -> rustix::io::Result<()> {
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)
}
