//! Terminals: ptys that tasks have open, and whose sessions they control.
//!
//! Kind: effect. A terminal is told apart by its devpts and its number in it. Data that nobody has read cannot be
//! looked at without taking it away: it is counted.

use super::outside::{Holder, Names, holder};
use super::pipes::duplicate;
use super::{Collector, FilesError, Seen};
use crate::sys::terminal::{self as sys, Told};
use crate::tasks::proc_text::{Stat, Status, odd, read};
use crate::tasks::{Part, Places, Target, TaskCause, TaskObstacle};
use crux_image::mounts::FileKind;
use crux_image::tasks::{ControllingTerminal, ProcessIndex, Terminal, TerminalFile, TerminalIndex};
use crux_mount::ids::Device;
use crux_mount::sys::SysError;
use rustix::fs::{major, makedev, minor};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Majors of the slaves of ptys; each has 256 of them (Documentation/admin-guide/devices.txt).
const SLAVES: std::ops::RangeInclusive<u32> = 136..=143;

/// A file of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Master,
    Slave,
    /// `/dev/tty`
    Controlling,
}

/// What a terminal is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    devpts: Device,
    number: u32,
    /// Others of the same number may have hung up before it.
    hung_up: bool,
}

/// What the terminals of a container are.
#[derive(Debug, Default)]
pub(super) struct Terminals {
    known: HashMap<Key, TerminalIndex>,
    /// By descriptor: whose, and its number.
    of: HashMap<(u32, u32), TerminalIndex>,
    /// By [`TerminalIndex`].
    pub(super) all: Vec<Terminal>,
    sessions: Vec<Member>,
    pub(super) controlling: Vec<ControllingTerminal>,
}

/// A process, its session, and its terminal.
#[derive(Debug)]
struct Member {
    process: ProcessIndex,
    pid: u32,
    /// As the dumper counts, and then as the container does.
    group: u32,
    group_inside: u32,
    session: u32,
    /// Its number, of a pty; none where it has another or none.
    terminal: Option<u32>,
    foreground: i64,
}

/// The kind of terminal that a file is, if it is one that can be made anew.
pub(super) fn kind(seen: &Seen) -> Option<Kind> {
    match seen.kind()? {
        FileKind::CharDevice { major: 5, minor: 0 } => Some(Kind::Controlling),
        FileKind::CharDevice { major: 5, minor: 2 } => Some(Kind::Master),
        kind if kind.is_pty_slave() => Some(Kind::Slave),
        _ => None,
    }
    .filter(|_| seen.info.access != crux_image::tasks::FileAccess::Path)
}

fn device(number: u64) -> Device {
    Device {
        major: major(number),
        minor: minor(number),
    }
}

/// Of a slave, by its device number.
fn number(rdev: u64) -> Option<u32> {
    let (major, minor) = (major(rdev), minor(rdev));
    SLAVES
        .contains(&major)
        .then(|| (major - SLAVES.start()) * 256 + minor)
}

impl Terminals {
    /// Takes note of a process's terminals, before any is recorded. Masters come first: they tell more.
    pub(super) fn note(
        &mut self,
        target: &Target,
        found: &[Seen],
        holder: impl Fn(u32) -> Holder,
        places: &Places,
        names: &mut Names<'_>,
        obstacles: &mut Vec<TaskObstacle>,
    ) -> Result<(), FilesError> {
        let failed = |error| FilesError::Process {
            pid: target.pid,
            error,
        };
        for side in [Kind::Master, Kind::Slave] {
            for seen in found.iter().filter(|seen| kind(seen) == Some(side)) {
                let copy = duplicate(target, seen.number).map_err(failed)?;
                let facts = Facts::of(side, seen, copy, places).map_err(failed)?;
                if facts.discipline != 0 {
                    let what = "is a terminal with a line discipline of its own, which cannot be dumped yet";
                    obstacles.push(TaskObstacle {
                        pid: target.pid,
                        part: Part::Descriptor(seen.number),
                        cause: TaskCause::Other(what.to_owned()),
                    });
                }
                let index = self.record(&facts, holder(seen.number), places, names);
                self.of.insert((target.pid, seen.number), index);
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        facts: &Facts,
        holder: Holder,
        places: &Places,
        names: &mut Names<'_>,
    ) -> TerminalIndex {
        let Facts { key, side, .. } = facts;
        if let Some(index) = self.known.get(key) {
            let known = &mut self.all[index.at()];
            match side {
                Kind::Master => facts.tell_of_master(known),
                _ => facts.tell_of_slave(known),
            }
            return *index;
        }
        let place = match key.hung_up {
            true => None,
            false => places.terminal(key.devpts, key.number),
        };
        let path = place.as_ref().and_then(|place| places.path(place));
        let name = match (names.declared(holder), path) {
            (Some(name), _) => name,
            (None, Some(path)) => {
                let path = path.to_absolute();
                names.free(
                    &crux_image::path::Escaped(&path)
                        .to_string()
                        .replace('=', "\\075"),
                )
            }
            (None, None) => names.free("terminal"),
        };
        let mut terminal = Terminal {
            name,
            place,
            number: key.number,
            settings: facts.settings.to_vec(),
            window: facts.window,
            exclusive: false,
            packets: false,
            locked: false,
            hung_up: key.hung_up,
            unread_input: 0,
            unread_output: 0,
            uid: 0,
            gid: 0,
            mode: 0o620,
        };
        if *side == Kind::Master {
            facts.tell_of_master(&mut terminal);
        }
        facts.tell_of_slave(&mut terminal);
        let index = TerminalIndex::from(self.all.len());
        self.all.push(terminal);
        self.known.insert(*key, index);
        index
    }

    /// Takes note of a process's session.
    pub(super) fn note_session(
        &mut self,
        target: &Target,
        process: ProcessIndex,
        outside: usize,
    ) -> Result<(), SysError> {
        let stat = Stat::read(target.directory.as_fd())?;
        let status = Status::parse(&read(&target.directory, "status")?);
        let groups = status.numbers("NSpgid").ok_or_else(|| odd("status"))?;
        let field = |number| stat.field(number).unwrap_or(0);
        // `tty_nr` has the minor number in two parts, as new_encode_dev() makes it.
        let encoded = field(7) as u32;
        let (major, low) = (
            encoded >> 8 & 0xfff,
            encoded & 0xff | encoded >> 12 & 0xf_ff00,
        );
        self.sessions.push(Member {
            process,
            pid: target.pid,
            group: field(5) as u32,
            group_inside: groups.get(outside).copied().unwrap_or(0),
            session: field(6) as u32,
            terminal: match encoded {
                0 => None,
                _ => Some(number(makedev(major, low)).unwrap_or(u32::MAX)),
            },
            foreground: field(8),
        });
        Ok(())
    }

    /// Which terminal each session has: of those with the number, the one that its processes have open.
    pub(super) fn find_sessions(&mut self, obstacles: &mut Vec<TaskObstacle>) {
        let leaders = self.sessions.iter().filter(|it| it.session == it.pid);
        let mut found = Vec::new();
        for leader in leaders {
            let Some(number) = leader.terminal else {
                continue;
            };
            let mut refuse = |pid: u32, what: &str| {
                obstacles.push(TaskObstacle {
                    pid,
                    part: Part::Process,
                    cause: TaskCause::Other(what.to_owned()),
                });
            };
            let Some(terminal) = self.terminal_of(leader.session, number) else {
                refuse(
                    leader.pid,
                    "its controlling terminal is open in no process of the container, which cannot be dumped yet",
                );
                continue;
            };
            let members = self
                .sessions
                .iter()
                .filter(|it| it.session == leader.session);
            for member in members.filter(|it| it.terminal != leader.terminal) {
                refuse(
                    member.pid,
                    "it has given up the terminal of its session, which cannot be dumped yet",
                );
            }
            let mut all = self.sessions.iter();
            let foreground = all.find(|it| i64::from(it.group) == leader.foreground);
            found.push(ControllingTerminal {
                leader: leader.process,
                terminal,
                foreground: foreground.map_or(0, |it| it.group_inside),
            });
        }
        self.controlling = found;
    }

    fn terminal_of(&self, session: u32, number: u32) -> Option<TerminalIndex> {
        let fits = |index: &TerminalIndex| {
            let terminal = &self.all[index.at()];
            terminal.number == number && !terminal.hung_up
        };
        let members = self.sessions.iter().filter(|it| it.session == session);
        let mut open: Vec<_> = members
            .flat_map(|member| self.of.iter().filter(|((pid, _), _)| *pid == member.pid))
            .filter(|(_, index)| fits(index))
            .map(|((pid, fd), index)| (*pid != session, *fd, *index))
            .collect();
        open.sort_unstable();
        let mut all = (0..self.all.len()).map(TerminalIndex::from).filter(fits);
        open.first().map(|it| it.2).or_else(|| all.next())
    }

    /// What a descriptor leads to.
    pub(super) fn file(
        &self,
        target: &Target,
        seen: &Seen,
        side: Kind,
        places: &Places,
    ) -> Result<Option<(TerminalIndex, TerminalFile)>, SysError> {
        let index = self.of.get(&(target.pid, seen.number)).copied();
        let place = places.locate(seen.info.mount, &seen.path);
        let found = match (side, place) {
            (Kind::Master, _) => Some(TerminalFile::Master),
            (Kind::Slave, Some(place)) if !self.has_hung_up(index) => {
                Some(TerminalFile::Slave(place))
            }
            (Kind::Slave, _) => Some(TerminalFile::Nameless),
            (Kind::Controlling, Some(place)) => Some(TerminalFile::Controlling(place)),
            (Kind::Controlling, None) => None,
        };
        let index = match side {
            Kind::Controlling => self.controlling_one(target, seen)?,
            _ => index,
        };
        Ok(index.zip(found))
    }

    fn has_hung_up(&self, index: Option<TerminalIndex>) -> bool {
        index.is_some_and(|index| self.all[index.at()].hung_up)
    }

    /// `/dev/tty` is the terminal of the session, as long as it has the same number.
    fn controlling_one(
        &self,
        target: &Target,
        seen: &Seen,
    ) -> Result<Option<TerminalIndex>, SysError> {
        let copy = duplicate(target, seen.number)?;
        let encoded = match sys::number(copy.as_fd(), Told::Device) {
            Ok(encoded) => encoded,
            Err(error) if error.errno() == Errno::IO => return Ok(None),
            Err(error) => return Err(error),
        };
        let (major, low) = (
            encoded >> 8 & 0xfff,
            encoded & 0xff | encoded >> 12 & 0xf_ff00,
        );
        let mut members = self.sessions.iter();
        let session = members.find(|it| it.pid == target.pid).map(|it| it.session);
        let leader = self.sessions.iter().find(|it| Some(it.pid) == session);
        let mut all = self.controlling.iter();
        let found = all.find(|it| leader.is_some_and(|leader| leader.process == it.leader));
        let found = found.map(|it| it.terminal);
        Ok(found.filter(|it| Some(self.all[it.at()].number) == number(makedev(major, low))))
    }
}

impl Collector<'_> {
    /// Takes note of the terminals that a process has open.
    pub(super) fn note_terminals(
        &mut self,
        target: &Target,
        found: &[Seen],
    ) -> Result<(), FilesError> {
        let holder = |number| holder(&self.holders, target, number);
        let (places, names) = (self.mounts, &mut self.names);
        let obstacles = &mut *self.obstacles;
        self.terminals
            .note(target, found, holder, places, names, obstacles)
    }
}

/// What one descriptor tells of a terminal.
struct Facts {
    key: Key,
    side: Kind,
    settings: [u8; sys::SETTINGS],
    window: [u16; 4],
    discipline: u32,
    exclusive: bool,
    packets: bool,
    locked: bool,
    unread: u32,
    /// Owner, group and mode of the slave.
    owner: Option<(u32, u32, u32)>,
}

impl Facts {
    fn of(side: Kind, seen: &Seen, file: OwnedFd, places: &Places) -> Result<Self, SysError> {
        let fd = file.as_fd();
        let settings = match sys::settings(fd) {
            Ok(settings) => settings,
            Err(error) if error.errno() == Errno::IO && side == Kind::Slave => {
                return Ok(Self::hung_up(seen));
            }
            Err(error) => return Err(error),
        };
        let told = |what| sys::number(fd, what);
        let (mut packets, mut locked, mut exclusive) = (false, false, false);
        let (mut devpts, mut owner) = (device(seen.stat.st_dev), None);
        let at = match side {
            Kind::Master => {
                packets = told(Told::Packets)? != 0;
                locked = told(Told::Locked)? != 0;
                if !locked {
                    let stat = peer(fd)?;
                    devpts = device(stat.st_dev);
                    owner = Some((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777));
                }
                told(Told::Number)?
            }
            _ => {
                exclusive = told(Told::Exclusive)? != 0;
                let stat = &seen.stat;
                owner = Some((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777));
                number(stat.st_rdev).unwrap_or(0)
            }
        };
        if locked && !places.has_terminals(devpts) {
            return Err(SysError::new(
                "look for the devpts of a locked pty",
                Errno::OPNOTSUPP,
            ));
        }
        Ok(Self {
            key: Key {
                devpts,
                number: at,
                hung_up: false,
            },
            side,
            settings,
            window: sys::window(fd)?,
            discipline: told(Told::Discipline)?,
            exclusive,
            packets,
            locked,
            unread: told(Told::Unread)?,
            owner,
        })
    }

    /// Nobody can ask it anything any more.
    fn hung_up(seen: &Seen) -> Self {
        Self {
            key: Key {
                devpts: device(seen.stat.st_dev),
                number: number(seen.stat.st_rdev).unwrap_or(0),
                hung_up: true,
            },
            side: Kind::Slave,
            settings: [0; sys::SETTINGS],
            window: [0; 4],
            discipline: 0,
            exclusive: false,
            packets: false,
            locked: false,
            unread: 0,
            owner: None,
        }
    }

    fn tell_of_master(&self, terminal: &mut Terminal) {
        terminal.packets = self.packets;
        terminal.locked = self.locked;
        terminal.unread_output = self.unread;
    }

    fn tell_of_slave(&self, terminal: &mut Terminal) {
        if self.side == Kind::Slave {
            terminal.exclusive = self.exclusive;
            terminal.unread_input = self.unread;
        }
        if let Some((uid, gid, mode)) = self.owner {
            (terminal.uid, terminal.gid, terminal.mode) = (uid, gid, mode as u16);
        }
    }
}

/// The slave's file.
fn peer(master: BorrowedFd<'_>) -> Result<rustix::fs::Stat, SysError> {
    let slave = sys::peer(master)?;
    rustix::fs::fstat(slave).map_err(|errno| SysError::new("fstat(pty)", errno))
}
