//! The tracer: follows a program and all it starts, from stop to stop.
//!
//! Kind: effect.

use super::calls::Call;
use super::sight::{Sight, is_filtered};
use super::{Fault, Traced, When};
use crate::programs::Output;
use crate::sys::be_traced;
use anyhow::{Context as _, Result, bail};
use nix::libc;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, memfd_create};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Seconds after which a run is taken to hang; SIGALRM then ends the caller, and all with it.
const PATIENCE: u32 = 100;

/// Runs a program with this fault, until it and all it started have ended. The caller has one thread.
pub fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    fault: Fault,
) -> Result<Traced> {
    nix::unistd::alarm::set(PATIENCE);
    let mut stdout = File::from(memfd_create("stdout", MemfdFlags::CLOEXEC)?);
    let mut stderr = File::from(memfd_create("stderr", MemfdFlags::CLOEXEC)?);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?);
    let child = be_traced(&mut command)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))?;
    let main = Pid::from_raw(child.id() as i32);
    let mut tracer = Tracer::new(main, fault);
    tracer.follow()?;
    nix::unistd::alarm::cancel();
    Ok(Traced {
        output: Output {
            status: tracer.status.context("the program was not waited for")?,
            stdout: all(&mut stdout)?,
            stderr: String::from_utf8_lossy(&all(&mut stderr)?).into_owned(),
        },
        hit: tracer.hit,
        sights: tracer.sights,
        calls: tracer.calls,
        paths: tracer.paths,
    })
}

fn all(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

struct Tracer {
    main: Pid,
    fault: Fault,
    /// Tasks that are followed, and those that have ended: a parent's report may come later.
    live: BTreeSet<Pid>,
    ended: BTreeSet<Pid>,
    /// Tasks that have become another program.
    others: BTreeSet<Pid>,
    /// Whose call is to fail when it returns.
    failing: BTreeMap<Pid, i32>,
    /// Who is to make the call that it is in once more.
    repeating: Option<Pid>,
    begun: bool,
    forked: bool,
    count: usize,
    matched: usize,
    calls: BTreeMap<i64, usize>,
    paths: Vec<Vec<u8>>,
    hit: Option<When>,
    sights: Vec<Sight>,
    /// Who does not go on.
    held: Option<Pid>,
    status: Option<ExitStatus>,
}

impl Tracer {
    fn new(main: Pid, fault: Fault) -> Self {
        Self {
            main,
            fault,
            live: BTreeSet::from([main]),
            ended: BTreeSet::new(),
            others: BTreeSet::new(),
            failing: BTreeMap::new(),
            repeating: None,
            begun: false,
            forked: false,
            count: 0,
            matched: 0,
            calls: BTreeMap::new(),
            paths: Vec::new(),
            hit: None,
            sights: Vec::new(),
            held: None,
            status: None,
        }
    }

    fn follow(&mut self) -> Result<()> {
        match waitpid(self.main, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(..) => {}
            other => bail!("the program did not stop at its beginning: {other:?}"),
        }
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.main, options)?;
        self.go_on(self.main, None);
        while !self.live.is_empty() {
            let status = waitpid(None, Some(WaitPidFlag::__WALL)).context("waitpid")?;
            self.stopped(status)?;
        }
        Ok(())
    }

    /// It may have been killed meanwhile, which the next wait says.
    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        let _ = ptrace::syscall(pid, signal);
    }

    fn stopped(&mut self, status: WaitStatus) -> Result<()> {
        match status {
            WaitStatus::Exited(pid, code) => self.end(pid, code << 8),
            WaitStatus::Signaled(pid, signal, _) => self.end(pid, signal as i32),
            WaitStatus::PtraceSyscall(pid) => {
                self.syscall(pid)?;
                if self.held != Some(pid) {
                    self.go_on(pid, None);
                }
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.event(pid, event);
                self.go_on(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => {
                // A new task begins with a stop that is not its own.
                let new = self.live.insert(pid);
                let first = signal == Signal::SIGSTOP || new;
                self.go_on(pid, (!first).then_some(signal));
            }
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        Ok(())
    }

    fn end(&mut self, pid: Pid, raw: i32) {
        self.live.remove(&pid);
        self.held = self.held.filter(|held| *held != pid);
        self.ended.insert(pid);
        if pid == self.main {
            self.status = Some(ExitStatus::from_raw(raw));
        }
    }

    fn event(&mut self, pid: Pid, event: i32) {
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            self.others.insert(pid);
            return;
        }
        if let Ok(new) = ptrace::getevent(pid) {
            let new = Pid::from_raw(new as i32);
            if !self.ended.contains(&new) {
                self.live.insert(new);
            }
            if self.others.contains(&pid) {
                self.others.insert(new);
            }
        }
        self.forked |= event != Event::PTRACE_EVENT_CLONE as i32;
    }

    fn syscall(&mut self, pid: Pid) -> Result<()> {
        // The task can be killed at any moment; then there is nothing to ask.
        let (Ok(info), Ok(registers)) = (ptrace::syscall_info(pid), ptrace::getregs(pid)) else {
            return Ok(());
        };
        let number = registers.orig_rax as i64;
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => self.entered(pid, number, &registers),
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                self.begun |= number == libc::SYS_sigaltstack;
                if let Some(errno) = self.failing.remove(&pid) {
                    let mut registers = registers;
                    registers.rax = (-i64::from(errno)) as u64;
                    let _ = ptrace::setregs(pid, registers);
                }
                if self.repeating.take_if(|who| *who == pid).is_some() {
                    self.repeat(pid, &registers);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn entered(&mut self, pid: Pid, number: i64, registers: &libc::user_regs_struct) {
        if self.others.contains(&pid) {
            return;
        }
        self.count += 1;
        if self.begun {
            *self.calls.entry(number).or_default() += 1;
            if self.fault == Fault::None {
                self.note_path(pid, number, registers);
            }
        }
        match self.fault {
            Fault::Kill { nth } if nth == self.count => {
                self.note_hit(pid);
                let _ = kill(self.main, Signal::SIGKILL);
            }
            Fault::KillRole { nth } if pid != self.main => {
                self.matched += 1;
                if self.matched == nth {
                    self.note_hit(pid);
                    let _ = kill(pid, Signal::SIGKILL);
                }
            }
            Fault::KillOther { pid: other, nth } if nth == self.count => {
                self.note_hit(pid);
                let _ = kill(Pid::from_raw(other), Signal::SIGKILL);
            }
            Fault::Fail { call, nth, errno } if self.begun && call.number == number => {
                self.matched += 1;
                if self.matched == nth {
                    self.fail(pid, registers, errno as i32);
                }
            }
            Fault::Always { call, errno } if self.begun && call.number == number => {
                self.fail(pid, registers, errno as i32);
            }
            Fault::Hang { role, call }
                if call.number == number && self.hit.is_none() && is_filtered(pid, role) =>
            {
                self.held = Some(pid);
                self.note_hit(pid);
            }
            Fault::Repeat { role }
                if number == libc::SYS_sendmsg && self.hit.is_none() && is_filtered(pid, role) =>
            {
                self.repeating = Some(pid);
                self.note_hit(pid);
            }
            Fault::Look => self.look(pid, number),
            Fault::Forbidden { role, call, with }
                if call.number == number && self.hit.is_none() && is_filtered(pid, role) =>
            {
                self.replace(pid, registers, with);
            }
            _ => {}
        }
    }

    /// Where the program looks at what its processes hold: whenever one says something.
    fn look(&mut self, pid: Pid, number: i64) {
        if number == libc::SYS_sendmsg
            && let Ok(sight) = Sight::of(pid)
        {
            self.sights.push(sight);
        }
    }

    /// Back to the instruction of the call that has just been made, with the registers that it was made with.
    fn repeat(&self, pid: Pid, registers: &libc::user_regs_struct) {
        const LENGTH_OF_SYSCALL: u64 = 2;
        let mut registers = *registers;
        registers.rax = registers.orig_rax;
        registers.rip -= LENGTH_OF_SYSCALL;
        // It has been killed otherwise, which the next wait says.
        let _ = ptrace::setregs(pid, registers);
    }

    /// The kernel is given another call, with the arguments of this one.
    fn replace(&mut self, pid: Pid, registers: &libc::user_regs_struct, with: Call) {
        let mut registers = *registers;
        registers.orig_rax = with.number as u64;
        if ptrace::setregs(pid, registers).is_ok() {
            self.note_hit(pid);
        }
    }

    /// The kernel is given a call that does nothing and that no filter forbids; its answer
    /// is changed afterwards.
    fn fail(&mut self, pid: Pid, registers: &libc::user_regs_struct, errno: i32) {
        let mut registers = *registers;
        registers.orig_rax = libc::SYS_getpid as u64;
        if ptrace::setregs(pid, registers).is_ok() {
            self.failing.insert(pid, errno);
            self.note_hit(pid);
        }
    }

    fn note_hit(&mut self, pid: Pid) {
        let first = pid == self.main && !self.forked;
        let when = if first { When::Before } else { When::After };
        self.hit.get_or_insert(when);
    }

    fn note_path(&mut self, pid: Pid, number: i64, registers: &libc::user_regs_struct) {
        let arguments = [registers.rdi, registers.rsi, registers.rdx];
        let Some(address) = Call::path_argument(number).map(|at| arguments[at]) else {
            return;
        };
        let mut bytes = vec![0; 4096];
        let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
            return;
        };
        // A path may end before a page that is not there.
        let here = (4096 - address % 4096) as usize;
        let near = memory.read_at(&mut bytes[..here], address).unwrap_or(0);
        let far = match near == here && !bytes[..near].contains(&0) {
            true => memory
                .read_at(&mut bytes[near..], address + near as u64)
                .unwrap_or(0),
            false => 0,
        };
        bytes.truncate(near + far);
        let length = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        bytes.truncate(length);
        self.paths.push(bytes);
    }
}
