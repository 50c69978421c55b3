//! Terminals in words.
//!
//! Kind: pure.

use super::tasks::View;
use crate::path::Escaped;
use crate::tasks::{Tasks, Terminal, TerminalFile};
use serde::Serialize;

/// A terminal for `--json`.
#[derive(Debug, Serialize)]
pub(super) struct TerminalRecord {
    name: String,
    number: u32,
    rows: u16,
    columns: u16,
    unread_input: u32,
    unread_output: u32,
    /// The process whose session it controls.
    controls: Option<u32>,
    /// The process group in its foreground.
    foreground: Option<u32>,
}

pub(super) fn records(tasks: &Tasks) -> Vec<TerminalRecord> {
    let record = |(at, terminal): (usize, &Terminal)| {
        let mut sessions = tasks.controlling.iter();
        let session = sessions.find(|it| it.terminal.at() == at);
        TerminalRecord {
            name: terminal.name.clone(),
            number: terminal.number,
            rows: terminal.window[0],
            columns: terminal.window[1],
            unread_input: terminal.unread_input,
            unread_output: terminal.unread_output,
            controls: session.map(|it| tasks.processes[it.leader.at()].first_pid()),
            foreground: session.map(|it| it.foreground).filter(|it| *it != 0),
        }
    };
    tasks.terminals.iter().enumerate().map(record).collect()
}

/// What a descriptor of one shows.
pub(super) fn file(view: &View<'_>, terminal: &Terminal, side: &TerminalFile) -> String {
    let name = Escaped(terminal.name.as_bytes());
    match side {
        TerminalFile::Master => format!("master of the terminal {name}"),
        TerminalFile::Slave(place) => format!("{}, the terminal {name}", view.path(place)),
        TerminalFile::Nameless => format!("the terminal {name}"),
        TerminalFile::Controlling(place) => {
            format!("{}, which is the terminal {name}", view.path(place))
        }
    }
}
