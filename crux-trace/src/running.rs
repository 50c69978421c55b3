//! A thread that is traced and may be running.
//!
//! Kind: effect.

use crate::error::named;
use crate::stop::{Ended, Status, Tid};
use crate::stopped::Stopped;
use crate::sys::{self, Patience};
use crate::{Options, TraceError};
use rustix::io::Errno;

/// A traced thread that has not been seen to stop since it went on.
#[derive(Debug, PartialEq, Eq)]
pub struct Running {
    tid: Tid,
}

/// What became of a thread that was waited for.
#[derive(Debug)]
pub enum Waited {
    /// It has stopped.
    Stopped(Stopped),
    /// It has ended. Its number may be another's from now on.
    Ended(Ended),
}

impl Running {
    /// Attaches to a thread without stopping it (`PTRACE_SEIZE`).
    ///
    /// # Errors
    ///
    /// `EPERM` if it is traced by another, is a kernel thread, or may not be traced; `ESRCH`
    /// if it has gone. A zombie is refused with `EPERM`.
    pub fn seize(tid: Tid, options: Options) -> Result<Self, TraceError> {
        named(sys::seize(tid.0, options.0), || {
            format!("ptrace(PTRACE_SEIZE, {tid}, 0, {:#x})", options.0)
        })?;
        Ok(Self { tid })
    }

    /// A thread that is traced already, because the kernel attached to it at its beginning
    /// ([`Options::DESCENDANTS`]).
    #[must_use]
    pub fn attached(tid: Tid) -> Self {
        Self { tid }
    }

    /// Its number.
    #[must_use]
    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// Has it stop soon (`PTRACE_INTERRUPT`); whatever stop is under way comes first.
    pub fn interrupt(&self) -> Result<(), TraceError> {
        let tid = self.tid;
        named(sys::interrupt(tid.0), || {
            format!("ptrace(PTRACE_INTERRUPT, {tid})")
        })
    }

    /// Waits until it stops or ends.
    pub fn wait(self) -> Result<Waited, TraceError> {
        let tid = self.tid;
        loop {
            let waited = named(sys::wait(tid.0, Patience::Forever), || {
                format!("waitpid({tid}, __WALL)")
            })?;
            if let Some((_, raw)) = waited
                && let Some(waited) = understood(tid, raw)
            {
                return Ok(waited);
            }
        }
    }

    /// Whether it has stopped or ended by now.
    pub fn poll(self) -> Result<Result<Waited, Self>, TraceError> {
        let tid = self.tid;
        let waited = named(sys::wait(tid.0, Patience::None), || {
            format!("waitpid({tid}, __WALL|WNOHANG)")
        })?;
        Ok(waited.and_then(|(_, raw)| understood(tid, raw)).ok_or(self))
    }
}

/// Waits until any child or traced thread of the caller stops or ends. None if there is none left.
///
/// Who waits so has to know all of them: a child that is not traced is waited for as well.
pub fn wait_any() -> Result<Option<(Tid, Waited)>, TraceError> {
    loop {
        let (tid, raw) = match sys::wait(-1, Patience::Forever) {
            Ok(Some((tid, raw))) => (Tid(tid), raw),
            Ok(None) => continue,
            Err(Errno::CHILD) => return Ok(None),
            Err(errno) => return named(Err(errno), || "waitpid(-1, __WALL)".to_owned()),
        };
        if let Some(waited) = understood(tid, raw) {
            return Ok(Some((tid, waited)));
        }
    }
}

fn understood(tid: Tid, raw: i32) -> Option<Waited> {
    match Status::parse(raw) {
        Status::Stopped(stop) => Some(Waited::Stopped(Stopped::new(tid, stop))),
        Status::Ended(ended) => Some(Waited::Ended(ended)),
        Status::Other => None,
    }
}
