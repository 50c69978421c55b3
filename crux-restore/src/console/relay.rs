//! Copies bytes between terminals and the programs that are attached to them.
//!
//! Kind: effect. What a terminal says and nobody hears is dropped; a program that does not listen is let go. The
//! slave side is kept open meanwhile, so that a terminal lives through the moments in which nobody has it.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::net::{SocketFlags, accept_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Programs that may be attached to one terminal.
const GUESTS: usize = 8;
/// Bytes that wait for a program before it is let go.
const OUTPUT: usize = 1 << 20;
/// Bytes that wait for a terminal before programs are not read.
const INPUT: usize = 4 << 10;

/// Something to read, or the end of it.
const SPEAKS: PollFlags = PollFlags::IN.union(PollFlags::HUP).union(PollFlags::ERR);

/// A program that is attached.
#[derive(Debug)]
struct Guest {
    socket: OwnedFd,
    waiting: Vec<u8>,
    /// Whether it may still say something.
    talks: bool,
    gone: bool,
}

/// A terminal and its guests.
#[derive(Debug)]
pub(super) struct Line {
    master: OwnedFd,
    /// None once the first task has ended.
    slave: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    guests: Vec<Guest>,
    input: Vec<u8>,
}

/// Terminals of a container, and its first process.
#[derive(Debug)]
pub(super) struct Relay {
    process: OwnedFd,
    lives: bool,
    lines: Vec<Line>,
}

/// What poll(2) was asked about.
#[derive(Debug, Clone, Copy)]
enum Watched {
    Process,
    Master(usize),
    Listener(usize),
    Guest(usize, usize),
}

impl Line {
    pub(super) fn new(master: OwnedFd, listener: Option<OwnedFd>) -> Result<Self, Errno> {
        fcntl_setfl(&master, OFlags::NONBLOCK)?;
        Ok(Self {
            slave: Some(peer(&master)?),
            master,
            listener,
            guests: Vec::new(),
            input: Vec::new(),
        })
    }

    /// What the terminal says goes to all. Whether it is still there.
    fn speak(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match read(&self.master, &mut buffer) {
            Ok(count @ 1..) => {
                for guest in &mut self.guests {
                    guest.waiting.extend_from_slice(&buffer[..count]);
                }
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            // It has hung up, as by vhangup(2): a slave that is opened again is a new beginning.
            Ok(0) | Err(_) => {
                let slave = self.slave.take().and_then(|_| peer(&self.master).ok());
                self.slave = slave;
                self.slave.is_some()
            }
        }
    }

    fn listen(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        if let Ok(socket) = accept_with(listener, flags) {
            self.guests.push(Guest {
                socket,
                waiting: Vec::new(),
                talks: true,
                gone: false,
            });
        }
    }

    /// A guest that has said all may still listen.
    fn hear(&mut self, at: usize, happened: PollFlags) {
        let guest = &mut self.guests[at];
        guest.gone = happened.intersects(PollFlags::HUP | PollFlags::ERR);
        if !happened.contains(PollFlags::IN) {
            return;
        }
        let mut buffer = [0; 1024];
        match read(&guest.socket, &mut buffer) {
            Ok(0) => guest.talks = false,
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => guest.gone = true,
        }
    }

    /// Writes what can be written, and lets go whom nothing can be told.
    fn flush(&mut self) {
        if !self.input.is_empty()
            && let Ok(count) = write(&self.master, &self.input)
        {
            self.input.drain(..count);
        }
        self.guests.retain_mut(|guest| {
            if guest.gone || guest.waiting.len() > OUTPUT {
                return false;
            }
            if guest.waiting.is_empty() {
                return true;
            }
            match write(&guest.socket, &guest.waiting) {
                Ok(count) => {
                    guest.waiting.drain(..count);
                    true
                }
                Err(errno) => matches!(errno, Errno::AGAIN | Errno::INTR),
            }
        });
    }
}

/// A slave that is nobody's controlling terminal.
fn peer(master: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    ioctl_tiocgptpeer(master, flags)
}

impl Relay {
    pub(super) fn new(process: OwnedFd, lines: Vec<Line>) -> Self {
        Self {
            process,
            lives: true,
            lines,
        }
    }

    /// Until the first task has ended and nobody has a terminal open.
    pub(super) fn run(mut self) {
        while self.lives || !self.lines.is_empty() {
            let watched = self.watched();
            let mut fds: Vec<_> = watched
                .iter()
                .map(|(what, flags)| PollFd::from_borrowed_fd(self.descriptor(*what), *flags))
                .collect();
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let happened: Vec<_> = fds.iter().map(PollFd::revents).collect();
            let happened = watched.into_iter().map(|(what, _)| what).zip(happened);
            let happened: Vec<_> = happened.filter(|(_, flags)| !flags.is_empty()).collect();
            self.act(&happened);
        }
    }

    fn watched(&self) -> Vec<(Watched, PollFlags)> {
        let mut watched = Vec::new();
        if self.lives {
            watched.push((Watched::Process, PollFlags::IN));
        }
        let if_any = |waiting: &[u8]| match waiting.is_empty() {
            true => PollFlags::empty(),
            false => PollFlags::OUT,
        };
        for (at, line) in self.lines.iter().enumerate() {
            watched.push((Watched::Master(at), PollFlags::IN | if_any(&line.input)));
            if line.listener.is_some() && line.guests.len() < GUESTS {
                watched.push((Watched::Listener(at), PollFlags::IN));
            }
            for (number, guest) in line.guests.iter().enumerate() {
                let reads = match guest.talks && line.input.len() < INPUT {
                    true => PollFlags::IN,
                    false => PollFlags::empty(),
                };
                let flags = reads | if_any(&guest.waiting);
                watched.push((Watched::Guest(at, number), flags));
            }
        }
        watched
    }

    fn descriptor(&self, what: Watched) -> BorrowedFd<'_> {
        match what {
            Watched::Process => self.process.as_fd(),
            Watched::Master(at) => self.lines[at].master.as_fd(),
            Watched::Guest(at, number) => self.lines[at].guests[number].socket.as_fd(),
            Watched::Listener(at) => match &self.lines[at].listener {
                Some(listener) => listener.as_fd(),
                None => self.lines[at].master.as_fd(),
            },
        }
    }

    fn act(&mut self, happened: &[(Watched, PollFlags)]) {
        let mut gone = vec![false; self.lines.len()];
        for (what, flags) in happened {
            match *what {
                Watched::Process => {
                    self.lives = false;
                    self.lines.iter_mut().for_each(|line| line.slave = None);
                }
                Watched::Master(at) if flags.intersects(SPEAKS) => {
                    gone[at] = !self.lines[at].speak();
                }
                Watched::Master(_) => {}
                Watched::Guest(at, number) => self.lines[at].hear(number, *flags),
                Watched::Listener(at) => self.lines[at].listen(),
            }
        }
        self.lines.iter_mut().for_each(Line::flush);
        let mut gone = gone.into_iter();
        self.lines.retain(|_| !gone.next().unwrap_or(false));
    }
}
