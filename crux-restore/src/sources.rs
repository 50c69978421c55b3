//! Opens what the operator granted, and finds out what it is.
//!
//! Kind: effect. Runs in the caller's namespace, before anything is made. All
//! problems are reported at once.

use crate::cli::path;
use crate::grants::{Grant, Granted};
use crate::terminal;
use crux_image::mounts::{External, ExternalRole, FileKind, FsOption, KernelFs, Mounts, Origin};
use crux_image::path::{Escaped, HostPath, RelPath};
use crux_mount::exec::{BuiltTerminal, Source};
use crux_mount::ids::{Device, MountId, PeerGroupId};
use crux_mount::mountinfo::Entry;
use crux_mount::sys;
use crux_mount::verify::External as ExternalFacts;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlink};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The sources of all origins, by origin.
#[derive(Default)]
pub(crate) struct Sources {
    /// For the executor.
    pub sources: Vec<Option<Source>>,
    /// For the executor.
    pub outside: Vec<Option<OwnedFd>>,
    /// For the verifier.
    pub facts: Vec<Option<ExternalFacts>>,
    /// The ptys among the sources; one goes when its master is closed.
    pub terminals: Vec<BuiltTerminal>,
}

/// The caller's mount table, by id.
pub(crate) struct HostTable<'a>(HashMap<MountId, &'a Entry>);

impl<'a> HostTable<'a> {
    pub(crate) fn new(entries: &'a [Entry]) -> Self {
        Self(entries.iter().map(|entry| (entry.id, entry)).collect())
    }
}

/// Opens everything that is granted, or says what does not fit.
pub(crate) fn open(
    mounts: &Mounts,
    grants: &[Option<Grant>],
    host: &HostTable<'_>,
) -> Result<Sources, Vec<String>> {
    let mut sources = Sources::default();
    let mut problems = Vec::new();
    for (at, (origin, grant)) in mounts.origins.iter().zip(grants).enumerate() {
        let opened = match (origin, grant) {
            (Origin::External(external), Some(grant)) => open_one(external, grant, host).map(Some),
            _ => Ok(None),
        };
        match opened {
            Ok(Some(opened)) => {
                sources.sources.push(Some(opened.source));
                sources.outside.push(opened.outside);
                sources.facts.push(Some(opened.facts));
                let made = opened.master.map(|(number, master)| BuiltTerminal {
                    origin: at.into(),
                    number,
                    master,
                });
                sources.terminals.extend(made);
            }
            Ok(None) => {
                sources.sources.push(None);
                sources.outside.push(None);
                sources.facts.push(None);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(sources)
    } else {
        Err(problems)
    }
}

/// One source, and what comes with it.
struct Opened {
    source: Source,
    outside: Option<OwnedFd>,
    facts: ExternalFacts,
    master: Option<(u32, OwnedFd)>,
}

fn open_one(external: &External, grant: &Grant, host: &HostTable<'_>) -> Result<Opened, String> {
    match &grant.contents {
        Granted::Kernel(fs, options) => Ok(open_kernel(*fs, options)),
        Granted::NewTerminal => {
            let (slave, number, master) = terminal::open()
                .map_err(|errno| format!("{}: {}", external.name, unmade(errno)))?;
            let opened = open_file(external, grant, slave, "the new pty", host)?;
            Ok(Opened {
                master: Some((number, master)),
                ..opened
            })
        }
        Granted::Operator(source) => {
            let file = resolve_operators(external, source);
            let shown = Escaped(source).to_string();
            open_file(
                external,
                grant,
                opened(external, &shown, file)?,
                &shown,
                host,
            )
        }
        Granted::Wish(wish) => {
            let shown = wish.to_string();
            let file = opened(external, &shown, resolve_wish(wish))?;
            open_file(external, grant, file, &shown, host)
        }
    }
}

fn open_kernel(fs: KernelFs, options: &[FsOption]) -> Opened {
    let options = options.to_vec();
    let facts = ExternalFacts {
        device: None,
        root: b"/".to_vec(),
        group: None,
    };
    Opened {
        source: Source::Kernel { fs, options },
        outside: None,
        facts,
        master: None,
    }
}

fn open_file(
    external: &External,
    grant: &Grant,
    file: OwnedFd,
    shown: &str,
    host: &HostTable<'_>,
) -> Result<Opened, String> {
    let about = |problem: String| format!("{}: {shown}: {problem}", external.name);
    let place = Place::of(&file, host).map_err(about)?;
    let kind = place
        .kind
        .ok_or_else(|| about("is of an unknown kind".into()))?;
    if !fits(external.kind, kind) {
        return Err(about(misfit(external, kind)));
    }
    let mut outside = None;
    if !grant.groups.is_empty() {
        outside = Some(outside_mount(grant, &place, host).map_err(about)?);
    }
    let facts = ExternalFacts {
        device: Some(place.device),
        root: place.root,
        group: outside.as_ref().map(|(_, group)| *group),
    };
    Ok(Opened {
        source: Source::Path(file),
        outside: outside.map(|(mount, _)| mount),
        facts,
        master: None,
    })
}

/// A path that the operator gave.
fn resolve_operators(external: &External, source: &[u8]) -> rustix::io::Result<OwnedFd> {
    let keeps_links = external.kind == FileKind::Symlink || external.role == ExternalRole::Root;
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, keeps_links);
    openat(CWD, path(source), flags, Mode::empty())
}

/// A path that the image gave.
fn resolve_wish(wish: &HostPath) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let bytes = wish.to_bytes();
    match openat2(CWD, path(&bytes), flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => walk(&bytes, flags),
        opened => opened,
    }
}

fn opened(
    external: &External,
    shown: &str,
    file: rustix::io::Result<OwnedFd>,
) -> Result<OwnedFd, String> {
    file.map_err(|errno| {
        let (name, cause) = (&external.name, text(errno));
        let option = option(external);
        let hint = match external.fs_type.as_str() {
            "cgroup" | "cgroup2" if errno == Errno::NOENT => "make that cgroup (mkdir), or ",
            _ => "",
        };
        format!("{name}: open {shown}: {cause}; {hint}name another source with {option}")
    })
}

pub(crate) fn unmade(errno: Errno) -> String {
    format!("make a pty with /dev/ptmx: {}", text(errno))
}

fn text(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// A wish without openat2(2): as that would, it follows no link.
fn walk(wish: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    sys::walk_across(root.as_fd(), wish, flags).map_err(|error| error.errno())
}

fn option(external: &External) -> String {
    match external.role {
        ExternalRole::Root => "--root DIR".to_owned(),
        ExternalRole::Bind => format!("--external {}=SOURCE", external.name),
    }
}

/// What a source is and where it lies.
struct Place {
    kind: Option<FileKind>,
    device: Device,
    /// Which part of its file system it is, as mountinfo shows that.
    root: Vec<u8>,
}

impl Place {
    fn of(file: &OwnedFd, host: &HostTable<'_>) -> Result<Self, String> {
        let stat = sys::statx(file).map_err(|error| error.to_string())?;
        let entry = host.0.get(&stat.mount);
        let entry = entry.ok_or("lies in a mount that this process's mount table does not show")?;
        let root = match stat.is_mount_root {
            // It may be no path at all: `net:[4026531840]`.
            true => entry.root.path.clone(),
            false => root_beneath(file, entry)?,
        };
        Ok(Self {
            kind: sys::file_kind(&stat),
            device: entry.device,
            root,
        })
    }
}

/// Which part of its file system a file is that lies somewhere in the mount of `entry`.
fn root_beneath(file: &OwnedFd, entry: &Entry) -> Result<Vec<u8>, String> {
    let path = readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new());
    let path = path.map_err(|errno| {
        let cause = std::io::Error::from(errno);
        format!("readlink(/proc/self/fd/{}): {cause}", file.as_raw_fd())
    })?;
    let path = RelPath::from_absolute(path.as_bytes()).map_err(|error| error.to_string())?;
    let above = RelPath::from_absolute(&entry.mountpoint).map_err(|error| error.to_string())?;
    let within = path
        .strip_prefix(&above)
        .ok_or("moved while it was opened")?;
    let root = RelPath::from_absolute(&entry.root.path).map_err(|error| error.to_string())?;
    Ok(root.join(&within).to_absolute())
}

/// Whether a source can stand in for what was there at dump. One terminal can for
/// another: which it is, is what the operator grants.
fn fits(wanted: FileKind, found: FileKind) -> bool {
    wanted == found || (wanted.is_pty_slave() && found.is_pty_slave())
}

fn misfit(external: &External, found: FileKind) -> String {
    let hint = match found {
        FileKind::Symlink => "; name what it points to",
        _ => "",
    };
    format!(
        "is {found}, but {} has to be {}{hint}",
        external.name, external.kind
    )
}

/// The root of the mount whose peer group is to be joined.
fn outside_mount(
    grant: &Grant,
    source: &Place,
    host: &HostTable<'_>,
) -> Result<(OwnedFd, PeerGroupId), String> {
    let mut reasons = Vec::new();
    for candidate in &grant.groups {
        match outside_candidate(candidate, source, host) {
            Ok(found) => return Ok(found),
            Err(reason) => reasons.push(format!("{} {reason}", Escaped(candidate))),
        }
    }
    Err(format!(
        "no peer group to join: {}; name a mount of the group with --slave-mount-map SOURCE:TARGET",
        reasons.join(", ")
    ))
}

fn outside_candidate(
    candidate: &[u8],
    source: &Place,
    host: &HostTable<'_>,
) -> Result<(OwnedFd, PeerGroupId), String> {
    let open = |path: std::path::PathBuf| {
        let file = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let file = file.map_err(|errno| format!("cannot be opened ({errno})"))?;
        let stat = sys::statx(file.as_fd()).map_err(|error| error.to_string())?;
        Ok::<_, String>((file, stat))
    };
    let (file, stat) = open(path(candidate))?;
    let entry = host
        .0
        .get(&stat.mount)
        .ok_or("lies in a mount that is not shown here")?;
    let group = entry.shared.ok_or("lies in a mount that is not shared")?;
    let root = RelPath::from_absolute(&entry.root.path).map_err(|error| error.to_string())?;
    let is_shown = RelPath::from_absolute(&source.root).is_ok_and(|path| path.is_beneath(&root));
    if entry.device != source.device || !is_shown {
        return Err("lies in a mount that does not show the granted source".to_owned());
    }
    if stat.is_mount_root {
        return Ok((file, group));
    }
    let (mount, at_root) = open(path(&entry.mountpoint))?;
    if at_root.mount != stat.mount || !at_root.is_mount_root {
        return Err("lies in a mount whose root is hidden by another mount".to_owned());
    }
    Ok((mount, group))
}
