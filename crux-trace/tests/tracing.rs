//! Requests on children of our own, which need no privilege.

use crux_trace::{
    Ended, Memory, Options, Pidfd, Queue, Resume, Running, Stop, Stopped, Tid, TraceError, Waited,
    read_memory, write_memory,
};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};

/// Ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn tid(&self) -> Tid {
        Tid::new(self.0.id()).unwrap()
    }

    fn send(&self, signal: i32) {
        Pidfd::open(self.tid()).unwrap().send(signal).unwrap();
    }

    /// Seized, and stopped by an interrupt.
    fn stop(&self) -> Stopped {
        let running = Running::seize(self.tid(), Options::NONE).unwrap();
        running.interrupt().unwrap();
        stopped(running)
    }

    fn status(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stopped(running: Running) -> Stopped {
    match running.wait().unwrap() {
        Waited::Stopped(stopped) => stopped,
        Waited::Ended(ended) => panic!("it ended: {ended:?}"),
    }
}

#[test]
fn an_interrupted_thread_shows_what_it_has() {
    let sleeper = Sleeper::start();
    let stopped = sleeper.stop();
    assert_eq!(stopped.stop(), Stop::Interrupted);
    let mut registers = stopped.registers().unwrap();
    registers.r15 = 4711;
    stopped.set_registers(&registers).unwrap();
    assert_eq!(stopped.registers().unwrap().r15, 4711);
    let area = stopped.xstate().unwrap();
    assert!(area.len() >= 576, "{}", area.len());
    stopped.set_xstate(&area).unwrap();
    assert_eq!(stopped.signal_mask().unwrap(), 0);
    stopped.rseq().unwrap();
    assert_eq!(stopped.pending(Queue::Thread).unwrap(), []);
    stopped.detach(0).unwrap();
}

#[test]
fn signals_that_wait_are_seen_and_left() {
    let sleeper = Sleeper::start();
    let stopped = sleeper.stop();
    stopped.set_signal_mask(1 << (libc::SIGUSR1 - 1)).unwrap();
    sleeper.send(libc::SIGUSR1);
    for _ in 0..2 {
        let pending = stopped.pending(Queue::Process).unwrap();
        let signals: Vec<_> = pending.iter().map(|it| it.signal()).collect();
        assert_eq!(signals, [libc::SIGUSR1]);
    }
    stopped.set_signal_mask(0).unwrap();
    stopped.detach(0).unwrap();
    assert_eq!(sleeper.status().signal(), Some(libc::SIGUSR1));
}

#[test]
fn a_signal_stop_delivers_what_it_is_given() {
    let sleeper = Sleeper::start();
    let running = Running::seize(sleeper.tid(), Options::NONE).unwrap();
    sleeper.send(libc::SIGUSR1);
    let at_signal = stopped(running);
    assert_eq!(at_signal.stop(), Stop::Signal(libc::SIGUSR1));
    assert_eq!(at_signal.signal_info().unwrap().signal(), libc::SIGUSR1);
    let running = at_signal.resume(Resume::Continue, 0).unwrap();
    sleeper.send(libc::SIGTERM);
    let running = stopped(running)
        .resume(Resume::Continue, libc::SIGTERM)
        .unwrap();
    assert!(matches!(
        running.wait().unwrap(),
        Waited::Ended(Ended::Killed(libc::SIGTERM))
    ));
}

#[test]
fn a_group_stop_is_told_from_an_interrupt() {
    let sleeper = Sleeper::start();
    let running = Running::seize(sleeper.tid(), Options::NONE).unwrap();
    sleeper.send(libc::SIGSTOP);
    let at_signal = stopped(running);
    assert_eq!(at_signal.stop(), Stop::Signal(libc::SIGSTOP));
    let running = at_signal.resume(Resume::Continue, libc::SIGSTOP).unwrap();
    let in_group = stopped(running);
    assert_eq!(in_group.stop(), Stop::Group(libc::SIGSTOP));
    let listening = in_group.resume(Resume::Listen, 0).unwrap();
    sleeper.send(libc::SIGCONT);
    assert_eq!(stopped(listening).stop(), Stop::Interrupted);
}

#[test]
fn memory_is_read_and_written() {
    let sleeper = Sleeper::start();
    let stopped = sleeper.stop();
    let tid = sleeper.tid();
    let address = stopped.registers().unwrap().rsp;
    let mut bytes = [0; 8];
    write_memory(tid, address, b"12345678").unwrap();
    read_memory(tid, address, &mut bytes).unwrap();
    assert_eq!(&bytes, b"12345678");
    let directory = std::fs::File::open(format!("/proc/{tid}")).unwrap();
    let memory = Memory::open(&directory).unwrap();
    // Code cannot be written by itself.
    let code = stopped.registers().unwrap().rip;
    memory.read(code, &mut bytes).unwrap();
    assert!(write_memory(tid, code, &bytes).is_err());
    memory.write(code, &bytes).unwrap();
    stopped.poke(code & !7, &[0x90; 16]).unwrap();
    read_memory(tid, code & !7, &mut bytes).unwrap();
    assert_eq!(bytes, [0x90; 8]);
    assert!(stopped.poke(code, &[0; 7]).is_err(), "no whole word");
    let refused = read_memory(tid, 0, &mut bytes).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("process_vm_readv({tid}, 0x0, 8): Bad address (os error 14)")
    );
}

#[test]
fn who_has_been_killed_is_gone() {
    let sleeper = Sleeper::start();
    let stopped = sleeper.stop();
    let pidfd = Pidfd::open(sleeper.tid()).unwrap();
    assert!(!pidfd.has_ended().unwrap());
    pidfd.send(libc::SIGKILL).unwrap();
    assert!(pidfd.wait(None).unwrap());
    assert!(
        stopped
            .registers()
            .is_err_and(|error: TraceError| error.is_gone())
    );
}
