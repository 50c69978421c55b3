//! Terminals: ptys (pty(7)) that tasks have open, or that control their sessions.
//!
//! Kind: pure. Each is recorded once, however many descriptors lead to either side.

use super::{Location, ProcessIndex, TerminalIndex};
use serde::{Deserialize, Serialize};

/// A pty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// By which a person names it to `crux-restore`: unique among terminals, and the name of the external
    /// mount that shows it where there is one.
    pub name: String,
    /// Where the container's mounts show the slave, or would; none: nowhere. The file system that this mount is of
    /// has the terminal: an own devpts, or what an external source is.
    pub place: Option<Location>,
    /// Its number in its devpts.
    pub number: u32,
    /// `struct termios2` (`TCGETS2`): 44 bytes.
    pub settings: Vec<u8>,
    /// `TIOCGWINSZ`: rows, columns, and both in pixels.
    pub window: [u16; 4],
    /// `TIOCEXCL`.
    pub exclusive: bool,
    /// `TIOCPKT` of the master.
    pub packets: bool,
    /// `TIOCSPTLCK` of the master: the slave cannot be opened yet.
    pub locked: bool,
    /// Its master is closed, and nothing but the end of the file comes from it.
    pub hung_up: bool,
    /// Bytes that the slave's readers had not taken. They are lost: only a reader can see them.
    pub unread_input: u32,
    /// Bytes that the master's readers had not taken, likewise.
    pub unread_output: u32,
    /// Owner of the slave.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u16,
}

/// Which side is open, and how the slave was named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminalFile {
    /// The side of a terminal emulator (ptmx(4)).
    Master,
    /// The side of the programs, where the container's mounts show it.
    Slave(Location),
    /// The same, opened by a name outside of the container's mounts.
    Nameless,
    /// `/dev/tty`: the terminal that controlled whoever opened it (tty(4)), at this place.
    Controlling(Location),
}

/// The terminal of a session (credentials(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllingTerminal {
    /// The leader of the session.
    pub leader: ProcessIndex,
    /// Its terminal. No other session has it.
    pub terminal: TerminalIndex,
    /// The process group in the foreground, as a pid in the first pid namespace; 0: none that lives.
    pub foreground: u32,
}
