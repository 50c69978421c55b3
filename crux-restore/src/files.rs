//! Opens what the operator granted to tasks, and looks at what this program was started with.
//!
//! Kind: effect. Runs before anything is made. All problems are reported at once.

use crate::cli::{External, Options, bytes, path};
use crate::grants::{
    AskedFile, DescriptorFact, DescriptorFacts, FileGrant, Wanted, descriptor, misfit,
};
use crate::sources::unmade;
use crate::terminal;
use crux_image::mounts::FileKind;
use crux_image::path::Escaped;
use crux_image::tasks::{FileAccess, FileFlags};
use crux_mount::sys;
use rustix::fs::{
    CWD, Mode, OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, fstat, major, minor, openat, seek,
};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What was opened for tasks.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// By name.
    pub(crate) files: Vec<(String, OwnedFd)>,
    /// New ptys, by the position of what is wanted.
    pub(crate) terminals: Vec<(u32, OwnedFd)>,
}

/// Opens everything that is granted by a path, or says what does not fit.
pub(crate) fn open(wanted: &[Wanted], grants: &[Option<FileGrant>]) -> Result<Opened, Vec<String>> {
    let (mut opened, mut problems) = (Opened::default(), Vec::new());
    for (at, (wanted, grant)) in wanted.iter().zip(grants).enumerate() {
        let about = |problem: String| format!("{}: {problem}", wanted.name);
        let null = || b"/dev/null".to_vec();
        let source = match grant {
            Some(FileGrant::Operator(source)) => source.clone(),
            Some(FileGrant::Null) => null(),
            Some(FileGrant::NewTerminal) => {
                match terminal::open() {
                    Ok((_, _, master)) => opened.terminals.push((at as u32, master)),
                    Err(errno) => problems.push(about(unmade(errno))),
                }
                continue;
            }
            Some(FileGrant::Descriptor(_) | FileGrant::Shown) | None => continue,
        };
        match open_one(&wanted.what, &source) {
            Ok(file) => opened.files.push((wanted.name.clone(), file)),
            Err(problem) => problems.push(about(format!("{}: {problem}", Escaped(&source)))),
        }
    }
    match problems.is_empty() {
        true => Ok(opened),
        false => Err(problems),
    }
}

fn open_one(wanted: &AskedFile, source: &[u8]) -> Result<OwnedFd, String> {
    let named =
        |call: &'static str| move |errno: Errno| format!("{call}: {}", std::io::Error::from(errno));
    let (access, flags, position) = match wanted {
        AskedFile::File {
            access,
            flags,
            position,
            ..
        } => (*access, *flags, *position),
        AskedFile::Terminal { .. } | AskedFile::Shown => {
            (FileAccess::ReadWrite, FileFlags::default(), 0)
        }
    };
    let mode = match access {
        FileAccess::Read => OFlags::RDONLY,
        FileAccess::Write => OFlags::WRONLY,
        FileAccess::ReadWrite => OFlags::RDWR,
        FileAccess::Path => OFlags::PATH,
    };
    // A fifo without a reader is not waited for.
    let fixed = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = openat(CWD, path(source), mode | fixed, Mode::empty()).map_err(named("open"))?;
    let fact = fact(file.as_fd()).map_err(named("fstat"))?;
    if let Some(why) = misfit(wanted, &fact) {
        return Err(why);
    }
    if access == FileAccess::Path {
        return Ok(file);
    }
    let bit = |set: bool, flag: OFlags| if set { flag } else { OFlags::empty() };
    let set = bit(flags.append, OFlags::APPEND) | bit(flags.nonblock, OFlags::NONBLOCK);
    fcntl_setfl(&file, set).map_err(named("fcntl(F_SETFL)"))?;
    if fact.kind == Some(FileKind::Regular) {
        let end = fstat(&file).map_err(named("fstat"))?.st_size;
        let position = position.min(u64::try_from(end).unwrap_or(0));
        seek(&file, SeekFrom::Start(position)).map_err(named("lseek"))?;
    }
    Ok(file)
}

/// What this program was started with, besides 0, 1 and 2, and is to pass on.
#[derive(Debug, Default)]
pub(crate) struct Held {
    numbers: Vec<u32>,
    /// In the same order.
    files: Vec<OwnedFd>,
}

impl Held {
    /// Those that the command line names, as they are.
    pub(crate) fn take(options: &Options) -> Result<Self, Errno> {
        let mut held = Self::default();
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        for number in named(options) {
            let number_of = i32::try_from(number).map_err(|_| Errno::BADF)?;
            match pidfd_getfd(&process, number_of, PidfdGetfdFlags::empty()) {
                Ok(file) => {
                    held.numbers.push(number);
                    held.files.push(file);
                }
                // It is said when it is known what it is for.
                Err(Errno::BADF) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(held)
    }

    pub(crate) fn files(&self) -> &[OwnedFd] {
        &self.files
    }

    /// By the number that it had.
    pub(crate) fn get(&self, number: u32) -> Option<BorrowedFd<'_>> {
        let at = self.numbers.iter().position(|it| *it == number);
        match (at, number) {
            (Some(at), _) => Some(self.files[at].as_fd()),
            (None, 0) => Some(rustix::stdio::stdin()),
            (None, 1) => Some(rustix::stdio::stdout()),
            (None, 2) => Some(rustix::stdio::stderr()),
            (None, _) => None,
        }
    }

    /// What they are.
    pub(crate) fn facts(&self) -> DescriptorFacts {
        let numbers = [0, 1, 2].into_iter().chain(self.numbers.iter().copied());
        let facts = numbers.filter_map(|number| {
            let fact = fact(self.get(number)?).ok()?;
            Some((number, fact))
        });
        facts.collect::<BTreeMap<_, _>>()
    }
}

fn named(options: &Options) -> Vec<u32> {
    let sources = options
        .external
        .iter()
        .filter_map(|external| match external {
            External::Source { source, .. } => descriptor(&bytes(source)),
            External::Auto => None,
        });
    let mut numbers: Vec<u32> = sources.filter(|number| *number > 2).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn fact(file: BorrowedFd<'_>) -> Result<DescriptorFact, Errno> {
    let stat = fstat(file)?;
    let flags = fcntl_getfl(file)?;
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    let access = match flags & OFlags::RWMODE {
        _ if flags.contains(OFlags::PATH) => FileAccess::Path,
        OFlags::WRONLY => FileAccess::Write,
        OFlags::RDWR => FileAccess::ReadWrite,
        _ => FileAccess::Read,
    };
    let kind = sys::kind_of(stat.st_mode, device);
    let terminal = |kind: FileKind| {
        matches!(kind, FileKind::CharDevice { major: 4 | 5, .. }) || kind.is_pty_slave()
    };
    Ok(DescriptorFact {
        kind,
        access,
        is_terminal: kind.is_some_and(terminal),
    })
}
