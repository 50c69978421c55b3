//! Processes made by fork(2): the only unsafe code of this package.
//!
//! Kind: effect. Does not know what the processes are for.
#![allow(unsafe_code)]

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Once;

/// Runs `job` in a child process that dies with the calling thread, and hands
/// back what it returned. A panic in the child is an error here, with its message.
pub fn in_child(job: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut answer = File::from(memfd_create("answer", MemfdFlags::CLOEXEC)?);
    let mut childs = answer.try_clone()?;
    note_panics();
    let child = start_child(move || {
        // A failed write leaves the answer empty, which the parent reports.
        let _ = childs.write_all(&run_caught(job));
        0
    })?;
    let status = waitpid(child, None).context("waitpid")?;
    let mut text = Vec::new();
    answer.rewind()?;
    answer.read_to_end(&mut text)?;
    match (text.first(), status) {
        (Some(b'+'), _) => Ok(text.split_off(1)),
        (Some(b'-'), _) => Err(anyhow!("{}", String::from_utf8_lossy(&text[1..]))),
        (_, WaitStatus::Signaled(_, signal, _)) => bail!("the child was killed by {signal}"),
        (_, status) => bail!("the child ended without an answer: {status:?}"),
    }
}

/// Starts a child process that dies with the calling thread and ends with the
/// status that `job` returns.
pub(crate) fn start_child(job: impl FnOnce() -> i32) -> Result<Pid> {
    let parent = getpid();
    // SAFETY: the child runs ordinary Rust code. glibc makes malloc usable after
    // fork; no lock of the standard library is held by another thread, as the
    // callers are single-threaded or a libtest thread whose main thread waits.
    // The child never returns from this function: no frame of the parent runs twice.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            // RACE: the parent may have died before the line above.
            let status = if orphaned(parent) { 1 } else { job() };
            exit_now(status)
        }
    }
}

/// Seen from a new pid namespace the parent has number 0.
fn orphaned(parent: Pid) -> bool {
    let now = getppid();
    now != parent && now.as_raw() != 0
}

/// Lets no descriptor but 0, 1 and 2 pass an exec: whoever started the tests may have left some open.
pub fn keep_to_streams() -> Result<()> {
    Ok(crux_mount::sys::close_on_exec_from(3)?)
}

fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) takes no pointer and does not return.
    unsafe { nix::libc::_exit(status) }
}

thread_local! {
    /// In the child of a fork, what its last panic said.
    static NOTE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets a child note what its panic says: libtest captures what a test prints, and the child's
/// copy of that is lost.
///
/// RACE: the hook is behind a lock that every panicking thread holds, so it is set before
/// anything is forked. Set in a child, it waits for ever for a thread that
/// panicked at the moment of the fork, and that the child does not have.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let noted = NOTE.with_borrow_mut(|note| match note {
                Some(text) => {
                    *text = info.to_string();
                    true
                }
                None => false,
            });
            if !noted {
                before(info);
            }
        }));
    });
}

/// The answer as bytes: `+` and the result, or `-` and the error.
fn run_caught(job: impl FnOnce() -> Result<Vec<u8>>) -> Vec<u8> {
    NOTE.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(job));
    let (mark, rest) = match outcome {
        Ok(Ok(bytes)) => (b'+', bytes),
        Ok(Err(error)) => (b'-', format!("{error:#}").into_bytes()),
        Err(_) => {
            let text = NOTE.take().unwrap_or_default();
            (b'-', text.into_bytes())
        }
    };
    let mut answer = vec![mark];
    answer.extend(rest);
    answer
}

/// Lets a program die with the thread that starts it.
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: the closure makes one prctl(2) call, which is async-signal-safe,
    // and touches no memory.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command
}

/// Lets a program be traced by the thread that starts it, from its first instruction on; it
/// dies with that thread.
pub(crate) fn be_traced(command: &mut Command) -> &mut Command {
    // SAFETY: the closure makes two system calls, which are async-signal-safe, and touches no memory.
    unsafe {
        command.pre_exec(|| {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(nix::sys::ptrace::traceme()?)
        });
    }
    command
}

/// Closes every descriptor but the standard ones, for a process that will use none again.
pub(crate) fn close_descriptors() {
    // SAFETY: close_range(2) takes no pointer. The caller is a forked child that only waits from
    // now on: no owner of a closed descriptor runs again.
    unsafe {
        if nix::libc::close_range(3, nix::libc::c_uint::MAX, 0) != 0 {
            // On a kernel without that call (`cargo xtask test --without close_range`).
            (3..4096).for_each(|number| {
                nix::libc::close(number);
            });
        }
    }
}

/// Gives a detached mount the id-map of a user namespace (mount_setattr(2)).
pub(crate) fn map_ids(mount: impl AsFd, namespace: impl AsFd) -> Result<()> {
    let fd = namespace.as_fd().as_raw_fd();
    let attributes = nix::libc::mount_attr {
        attr_set: nix::libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(fd)?,
    };
    // SAFETY: the path is a static C string, the structure lives until the call returns and is as
    // large as said; the kernel only reads both. The caller keeps the descriptors open.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            nix::libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    nix::errno::Errno::result(result).context("mount_setattr(MOUNT_ATTR_IDMAP)")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Tests of one program are threads of one process under plain `cargo test`, and what another
    /// thread holds when this one forks is held in the child for ever.
    #[test]
    fn children_begin_and_fail_while_other_threads_panic() {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = catch_unwind(|| panic!("elsewhere"));
                }
            });
            for _ in 0..200 {
                assert_eq!(in_child(|| Ok(vec![1])).unwrap(), [1]);
                let error = in_child(|| panic!("here")).unwrap_err().to_string();
                assert!(
                    error.contains("here") && error.contains("sys.rs"),
                    "{error}"
                );
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
