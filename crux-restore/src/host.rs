//! The caller's own mount table and limits.
//!
//! Kind: effect.

use crate::failure::{Exit, Failure, OrExit};
use crux_mount::mountinfo::{self, Entry};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;

const PATH: &str = "/proc/self/mountinfo";

/// Opens the table of the mount namespace that this process is in: the descriptor
/// shows that one, whoever reads it.
pub(crate) fn open_table() -> Result<OwnedFd, Failure> {
    let file = File::open(PATH);
    let file =
        file.map_err(|error| Failure::new(Exit::Lacking, format_args!("open {PATH}: {error}")))?;
    Ok(file.into())
}

/// /proc, as this process sees it.
pub(crate) fn open_proc() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/proc", flags, Mode::empty()).map_err(|errno| {
        let cause = std::io::Error::from(errno);
        Failure::new(Exit::Lacking, format_args!("open /proc: {cause}"))
    })
}

/// The table of the mount namespace that this process is in.
pub(crate) fn own_table() -> Result<Vec<Entry>, Failure> {
    Ok(Table::read(open_table()?)?.before)
}

/// The caller's table, before and after.
pub(crate) struct Table {
    file: File,
    before: Vec<Entry>,
}

impl Table {
    /// Reads the table behind a descriptor of [`open_table`].
    pub(crate) fn read(file: OwnedFd) -> Result<Self, Failure> {
        let mut file = File::from(file);
        let before = read(&mut file, Exit::Lacking)?;
        Ok(Self { file, before })
    }

    /// A restore leaves the caller's table as it was.
    pub(crate) fn unchanged(mut self) -> Result<(), Failure> {
        // Something was done by now, and is undone with the builder's end.
        let after = read(&mut self.file, Exit::Undone)?;
        compare(&self.before, &after)
    }
}

fn read(file: &mut File, exit: Exit) -> Result<Vec<Entry>, Failure> {
    let mut text = Vec::new();
    let fail = |call: &'static str| {
        move |error| Failure::new(exit, format_args!("{call} {PATH}: {error}"))
    };
    file.rewind().map_err(fail("lseek"))?;
    file.read_to_end(&mut text).map_err(fail("read"))?;
    mountinfo::parse(&text).or_exit(exit)
}

fn compare(before: &[Entry], after: &[Entry]) -> Result<(), Failure> {
    let changed = |entry: &&Entry| !before.contains(entry);
    if after == before {
        return Ok(());
    }
    let news: Vec<_> = after.iter().filter(changed).collect();
    let gone = before.iter().filter(|entry| !after.contains(entry)).count();
    let shown: Vec<_> = news
        .iter()
        .map(|entry| crux_image::path::Escaped(&entry.mountpoint).to_string())
        .collect();
    Err(Failure::new(
        Exit::Uncertain,
        format_args!(
            "leave the host's mounts alone: its table changed during the restore \
             ({gone} mounts gone or changed; new or changed: {}); if something else mounted or \
             unmounted meanwhile, try again",
            shown.join(", ")
        ),
    ))
}

/// A large table takes a descriptor for each mount. The hard limit needs no privilege; how many
/// there may be then.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    limit.unwrap_or(u64::MAX)
}
