//! Terminals: their settings, both sides, and the sessions that they control.
//!
//! Kind: pure. The builder has made the ptys, and the first task is born with their masters; slaves are opened by
//! the container's own paths, or from the master. A session gets its terminal right after it has begun, for
//! processes inherit it; the group in the foreground is set when all groups are there.

use super::{access, flags};
use crate::tasks::compile::Compiler;
use crux_image::tasks::{
    ControllingTerminal, FileIndex, OpenFile, OpenTarget, Process, ProcessIndex, TerminalFile,
    TerminalIndex,
};
use crux_script::{Argument, Call, Expect, arguments};

const TIOCGPTPEER: u32 = 0x5441;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCPKT: u32 = 0x5420;
const TIOCSCTTY: u32 = 0x540e;
const TIOCSPGRP: u32 = 0x5410;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCEXCL: u32 = 0x540c;
const TCSETS2: u32 = 0x402c_542b;

impl Compiler<'_> {
    fn ioctl(&mut self, at: ProcessIndex, fd: impl Into<Argument>, request: u32, with: &[u8]) {
        let block = self.bytes(with.to_vec());
        let call = Call::new(libc::SYS_ioctl).argument(0, fd);
        let call = call.argument(1, request).argument(2, block);
        self.call(at, call);
    }

    /// What each terminal is set to, before anybody has it open.
    pub(in crate::tasks::compile) fn terminals(&mut self, at: ProcessIndex) {
        let tasks = self.tasks;
        for (index, terminal) in tasks.terminals.iter().enumerate() {
            let index = TerminalIndex::from(index);
            let Some(master) = self.numbers.master(index) else {
                continue;
            };
            self.ioctl(at, master, TIOCSPTLCK, &[0; 4]);
            if terminal.hung_up {
                continue;
            }
            self.ioctl(at, master, TCSETS2, &terminal.settings);
            let window: Vec<u8> = terminal
                .window
                .iter()
                .flat_map(|it| it.to_le_bytes())
                .collect();
            self.ioctl(at, master, TIOCSWINSZ, &window);
            if terminal.packets {
                self.ioctl(at, master, TIOCPKT, &[1, 0, 0, 0]);
            }
            if terminal.exclusive {
                let slave = self.slave(at, master, libc::O_RDWR);
                let call = Call::new(libc::SYS_ioctl).with(arguments![slave, TIOCEXCL]);
                self.call(at, call);
                self.call(at, Call::new(libc::SYS_close).with(arguments![slave]));
            }
        }
    }

    /// When nobody opens one any more.
    pub(in crate::tasks::compile) fn lock_terminals(&mut self, at: ProcessIndex) {
        let tasks = self.tasks;
        for (index, terminal) in tasks.terminals.iter().enumerate() {
            let index = TerminalIndex::from(index);
            let Some(master) = self.numbers.master(index).filter(|_| terminal.locked) else {
                continue;
            };
            if tasks.controlling.iter().any(|it| it.terminal == index) {
                let what = "a locked terminal that controls a session cannot be restored yet";
                self.refuse(&tasks.processes[at.at()], what);
                continue;
            }
            self.ioctl(at, master, TIOCSPTLCK, &[1, 0, 0, 0]);
        }
    }

    /// A slave, by no name.
    fn slave(&mut self, at: ProcessIndex, master: u32, flags: i32) -> crux_script::LineId {
        let flags = flags | libc::O_NOCTTY | libc::O_CLOEXEC;
        let call = Call::new(libc::SYS_ioctl).with(arguments![master, TIOCGPTPEER, flags]);
        self.call(at, call)
    }

    pub(super) fn open_terminal(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: FileIndex,
        file: &OpenFile,
    ) {
        let OpenTarget::Terminal(terminal, side) = &file.target else {
            return;
        };
        let number = self.numbers.file(index);
        let set = access(file.access) | flags(&file.flags) | libc::O_CLOEXEC | libc::O_NOCTTY;
        let opened = match (side, self.numbers.master(*terminal)) {
            (TerminalFile::Master, Some(master)) => {
                self.copy(at, master, number);
                let set = flags(&file.flags) & (libc::O_NONBLOCK | libc::O_APPEND);
                let call = Call::new(libc::SYS_fcntl).with(arguments![number, libc::F_SETFL, set]);
                self.call(at, call);
                return;
            }
            (TerminalFile::Slave(place), _) => self.open(at, process, place, set),
            (TerminalFile::Controlling(place), _) => {
                let session = self.session(process).map(|it| it.terminal);
                if session != Some(*terminal) || self.begins_late(at, process) {
                    let what = "the terminal of another session cannot be opened";
                    self.refuse(process, what);
                    return;
                }
                self.open(at, process, place, set)
            }
            (TerminalFile::Nameless, Some(master)) => {
                Some(self.slave(at, master, access(file.access) | flags(&file.flags)))
            }
            (TerminalFile::Nameless, None) => {
                let tasks = self.tasks;
                match &tasks.terminals[terminal.at()].place {
                    Some(place) => self.open(at, process, place, set),
                    None => {
                        let given = self.numbers.given(*terminal);
                        self.copy(at, given, number);
                        return;
                    }
                }
            }
            (TerminalFile::Master, None) => {
                self.refuse(process, "the master of a terminal is outside the container");
                return;
            }
        };
        if let Some(fd) = opened {
            self.keep(at, fd, number);
        }
    }

    fn copy(&mut self, at: ProcessIndex, from: u32, to: u32) {
        let call = Call::new(libc::SYS_dup3).with(arguments![from, to, libc::O_CLOEXEC]);
        self.call(at, call);
    }

    /// The terminal of the session that a process is in.
    fn session(&self, process: &Process) -> Option<ControllingTerminal> {
        let leads = |it: &&ControllingTerminal| {
            self.tasks.processes[it.leader.at()].first_pid() == process.session
        };
        self.tasks.controlling.iter().find(leads).copied()
    }

    fn led(&self, at: ProcessIndex) -> Option<ControllingTerminal> {
        let mut all = self.tasks.controlling.iter();
        all.find(|it| it.leader == at).copied()
    }

    /// A session that has just begun takes its terminal.
    pub(in crate::tasks::compile) fn take_terminal(&mut self, at: ProcessIndex, process: &Process) {
        let Some(session) = self.led(at) else { return };
        let take = |fd: Argument| {
            Call::new(libc::SYS_ioctl)
                .argument(0, fd)
                .argument(1, TIOCSCTTY)
        };
        self.with_slave(at, process, session.terminal, take);
    }

    /// Makes a call on the slave of a terminal. One that was given may be that of another session, which keeps it.
    fn with_slave(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        terminal: TerminalIndex,
        call: impl Fn(Argument) -> Call,
    ) {
        if let Some(master) = self.numbers.master(terminal) {
            let slave = self.slave(at, master, libc::O_RDWR);
            self.call(at, call(slave.into()));
            self.call(at, Call::new(libc::SYS_close).with(arguments![slave]));
            return;
        }
        let tasks = self.tasks;
        match &tasks.terminals[terminal.at()].place {
            Some(place) => {
                let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
                if let Some(slave) = self.open(at, process, place, flags) {
                    self.call(at, call(slave.into()).expect(Expect::Any));
                    self.call(at, Call::new(libc::SYS_close).with(arguments![slave]));
                }
            }
            None => {
                let given = self.numbers.given(terminal);
                self.call(at, call(given.into()).expect(Expect::Any));
            }
        }
    }

    /// The group in the foreground. All signals are blocked, so that nobody is stopped for it.
    pub(in crate::tasks::compile) fn foreground(&mut self, at: ProcessIndex, process: &Process) {
        let Some(session) = self.led(at).filter(|it| it.foreground != 0) else {
            return;
        };
        let tasks = self.tasks;
        let mut others = tasks.processes.iter();
        let leader = others.find(|it| it.first_pid() == session.foreground);
        let group = leader.map_or(session.foreground, Process::own_pid);
        let block = self.bytes(group.to_le_bytes());
        let set = |fd: Argument| {
            Call::new(libc::SYS_ioctl)
                .argument(0, fd)
                .argument(1, TIOCSPGRP)
                .argument(2, block)
        };
        self.with_slave(at, process, session.terminal, set);
    }
}
