//! What the tasks of an image want from outside, and which terminals have to be made.
//!
//! Kind: pure. The sides of terminals that the container's tasks have not got are kept by somebody else: see
//! `console`.

use crate::grants::{AskedFile, FileGrant, Wanted};
use crux_image::mounts::{Contents, Mounts, Origin, OriginIndex, OwnFsType, Terminal as Shown};
use crux_image::path::Escaped;
use crux_image::tasks::{OpenTarget, Tasks, Terminal, TerminalFile, TerminalIndex};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// A pty that the builder makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Made {
    /// In a devpts of the container's own.
    Own(OriginIndex, u32),
    /// A new one of this machine's, which mounts show.
    Mounted(OriginIndex),
    /// The same, which no mount shows: for what is wanted at this position.
    Unmounted(u32),
}

/// A terminal whose master is for somebody outside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) made: Made,
    pub(crate) name: String,
    /// Whether it is the console.
    pub(crate) console: bool,
}

/// What is wanted, in the order of the record: files, then terminals, each by its position.
pub(crate) fn wanted(tasks: &Tasks, mounts: &Mounts) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for file in &tasks.files {
        if let OpenTarget::External {
            name,
            kind,
            described,
        } = &file.target
        {
            wanted.push(Wanted {
                name: name.clone(),
                what: AskedFile::File {
                    kind: *kind,
                    access: file.access,
                    flags: file.flags,
                    position: file.position,
                    described: described.clone(),
                },
            });
        }
    }
    let console = console(tasks);
    for (at, terminal) in tasks.terminals.iter().enumerate() {
        let what = match home(terminal, mounts) {
            Home::Nowhere => AskedFile::Terminal {
                console: console == Some(at.into()),
                hung_up: terminal.hung_up,
            },
            Home::Own(_) | Home::Mounted(_) => AskedFile::Shown,
        };
        let name = terminal.name.clone();
        wanted.push(Wanted { name, what });
    }
    wanted
}

/// Where terminals stand among what is wanted.
fn first_terminal(tasks: &Tasks) -> usize {
    let files = tasks.files.iter();
    let external = |target: &OpenTarget| matches!(target, OpenTarget::External { .. });
    files.filter(|file| external(&file.target)).count()
}

/// The terminal of the first process: one of its streams, or what controls its session.
fn console(tasks: &Tasks) -> Option<TerminalIndex> {
    let table = tasks.processes.first()?.descriptors?;
    let descriptors = tasks.descriptor_tables[table.at()].descriptors.iter();
    let streams = descriptors.filter(|it| it.number < 3);
    let mut terminals = streams.filter_map(|it| match &tasks.files[it.file.at()].target {
        OpenTarget::Terminal(index, _) => Some(*index),
        _ => None,
    });
    let mut sessions = tasks.controlling.iter();
    let mut session = || sessions.find(|it| it.leader.at() == 0);
    terminals.next().or_else(|| session().map(|it| it.terminal))
}

/// In which file system a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Own(OriginIndex),
    Mounted(OriginIndex),
    Nowhere,
}

fn home(terminal: &Terminal, mounts: &Mounts) -> Home {
    let Some(place) = &terminal.place else {
        return Home::Nowhere;
    };
    let mount = &mounts.namespaces[place.namespace.at()].mounts[place.mount.at()];
    match &mounts.origins[mount.origin.at()] {
        Origin::Own(_) => Home::Own(mount.origin),
        Origin::External(_) => Home::Mounted(mount.origin),
    }
}

/// Terminals of tasks are made with those that mounts show.
pub(crate) fn add_terminals(tasks: &Tasks, mounts: &mut Mounts) {
    for terminal in &tasks.terminals {
        let Home::Own(origin) = home(terminal, mounts) else {
            continue;
        };
        let Origin::Own(own) = &mut mounts.origins[origin.at()] else {
            continue;
        };
        let Contents::Terminals(shown) = &mut own.contents else {
            continue;
        };
        if !shown.iter().any(|it| it.number == terminal.number) {
            shown.push(Shown {
                number: terminal.number,
                uid: terminal.uid,
                gid: terminal.gid,
                mode: terminal.mode,
            });
        }
    }
}

/// Of each terminal of the record, the pty that is made for it; none where something else was granted.
pub(crate) fn made(tasks: &Tasks, mounts: &Mounts, grants: &Granted<'_>) -> Vec<Option<Made>> {
    let first = first_terminal(tasks);
    let terminals = tasks.terminals.iter().enumerate();
    terminals
        .map(|(at, terminal)| match home(terminal, mounts) {
            Home::Own(origin) => Some(Made::Own(origin, terminal.number)),
            Home::Mounted(origin) => grants.is_new(origin).then_some(Made::Mounted(origin)),
            Home::Nowhere => match grants.files.get(first + at) {
                Some(Some(FileGrant::NewTerminal)) => Some(Made::Unmounted((first + at) as u32)),
                _ => None,
            },
        })
        .collect()
}

/// What was granted, as far as terminals go.
pub(crate) struct Granted<'a> {
    pub(crate) files: &'a [Option<FileGrant>],
    /// External origins for which a new pty is made.
    pub(crate) new: HashSet<OriginIndex>,
}

impl Granted<'_> {
    fn is_new(&self, origin: OriginIndex) -> bool {
        self.new.contains(&origin)
    }
}

/// All whose masters nobody in the container has.
pub(crate) fn kept(tasks: &Tasks, mounts: &Mounts, grants: &Granted<'_>) -> Vec<Kept> {
    let made = made(tasks, mounts, grants);
    let inside: HashSet<TerminalIndex> = tasks
        .files
        .iter()
        .filter_map(|file| match &file.target {
            OpenTarget::Terminal(index, TerminalFile::Master) => Some(*index),
            _ => None,
        })
        .collect();
    let first = console(tasks);
    let mut known = HashSet::new();
    let mut kept = Vec::new();
    for (at, (terminal, made)) in tasks.terminals.iter().zip(made).enumerate() {
        let Some(made) = made else { continue };
        known.insert(made);
        if !terminal.hung_up && !inside.contains(&at.into()) {
            kept.push(Kept {
                made,
                name: terminal.name.clone(),
                console: first == Some(at.into()),
            });
        }
    }
    for (made, name) in shown(mounts, grants) {
        if known.insert(made) {
            let console = false;
            kept.push(Kept {
                made,
                name,
                console,
            });
        }
    }
    // A container whose first process has no terminal has a console all the same.
    if !kept.iter().any(|it| it.console)
        && let Some(console) = kept.iter_mut().find(|it| it.name == "/dev/console")
    {
        console.console = true;
    }
    kept
}

/// Terminals that mounts show, by those.
fn shown(mounts: &Mounts, grants: &Granted<'_>) -> Vec<(Made, String)> {
    let mut found = Vec::new();
    for (ns, at, mount) in mounts.every_mount() {
        match &mounts.origins[mount.origin.at()] {
            Origin::External(external) if grants.is_new(mount.origin) => {
                found.push((Made::Mounted(mount.origin), external.name.clone()));
            }
            Origin::Own(own) if own.fs_type == OwnFsType::Devpts => {
                let name = std::str::from_utf8(mount.root.as_bytes()).ok();
                if let Some(number) = name.and_then(|name| name.parse().ok()) {
                    let path = mounts.namespaces[ns.at()].path_of(at).to_absolute();
                    let name = Escaped(&path).to_string();
                    found.push((Made::Own(mount.origin, number), name));
                }
            }
            _ => {}
        }
    }
    found
}
