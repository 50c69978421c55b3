//! The image asks, the operator grants.
//!
//! Kind: pure. From what an image asks for and what the command line grants comes
//! a source for each external origin, or the list of what is missing with the
//! options that would grant it.

mod ends;

pub(crate) use ends::{EndError, ends};

use crate::cli::{External as ExternalOption, Options, SlaveMountMap, bytes};
use crux_image::mounts::{
    External, ExternalRole, FsOption, GroupLink, KernelFs, Master, Mount, Mounts, Origin,
    OriginIndex, Propagation, Wish,
};
use crux_image::path::{Escaped, HostPath, RelPath};
use std::collections::{HashMap, HashSet};
use std::fmt;

mod files;
pub(crate) use files::{
    Asked as AskedFile, DescriptorFact, DescriptorFacts, FileGrant, STREAMS, Wanted, descriptor,
    misfit, misfits,
};

/// What stands in for an external origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Where the contents come from.
    pub contents: Granted,
    /// Paths on mounts of the outside peer group, in the order in which to try
    /// them; empty where no mount of the origin takes part in one.
    pub groups: Vec<Vec<u8>>,
}

/// A granted source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Granted {
    /// A path that the operator gave: links in it are the operator's.
    Operator(Vec<u8>),
    /// A path that the image named: no link in it is followed.
    Wish(HostPath),
    /// A file system of the kernel's.
    Kernel(KernelFs, Vec<FsOption>),
    /// A new pty of this machine's devpts.
    NewTerminal,
}

/// What `--external NAME=` takes for [`Granted::NewTerminal`].
const NEW_TERMINAL: &str = "pty:new";
/// Where this machine's ptys are mounted (pts(4)).
const TERMINALS: &[u8] = b"/dev/pts";

/// How an origin takes part in a peer group outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Not at all.
    None,
    /// Receives from it.
    Slave,
    /// Receives and sends.
    Peer,
}

/// Why the grants do not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GrantError {
    /// A grant for a name that the image does not have.
    UnknownName { option: String, known: Vec<String> },
    /// `--root` for an image whose root is its own.
    NoExternalRoot,
    /// The same thing granted twice.
    Twice(String),
    /// Not everything is granted.
    Missing(Vec<Request>),
}

/// Something that an image asks for and nothing grants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    name: String,
    /// What it is.
    shown: String,
    /// The option that grants it.
    option: String,
    wish: WishState,
}

impl Request {
    /// An open file, and whether its option can be used as it is.
    fn of_file(name: String, shown: String, option: String, is_complete: bool) -> Self {
        let wish = match is_complete {
            true => WishState::OpenFile,
            false => WishState::Unknown,
        };
        Self {
            name,
            shown,
            option,
            wish,
        }
    }
}

/// Whether the image names a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WishState {
    Found,
    Unknown,
    /// It does, but nothing opens it without the operator's word.
    OpenFile,
}

/// What was granted.
#[derive(Debug)]
pub(crate) struct Grants {
    /// For each origin that is external, in the order of the image.
    pub(crate) origins: Vec<Option<Grant>>,
    /// For each open file from outside.
    pub(crate) files: Vec<Option<FileGrant>>,
}

impl Grants {
    /// External origins that a new pty stands in for.
    pub(crate) fn new_terminals(&self) -> HashSet<OriginIndex> {
        let new = |grant: &Option<Grant>| {
            matches!(
                grant,
                Some(Grant {
                    contents: Granted::NewTerminal,
                    ..
                })
            )
        };
        let each = self.origins.iter().enumerate();
        each.filter(|(_, grant)| new(grant))
            .map(|(at, _)| at.into())
            .collect()
    }
}

/// Grants for the sources of mounts and for what tasks had open from outside, or all that is missing.
pub(crate) fn grant(
    mounts: &Mounts,
    wanted: &[Wanted],
    options: &Options,
) -> Result<Grants, GrantError> {
    let asked = Asked::of(mounts, wanted);
    let given = Given::of(options, &asked)?;
    let mut grants = Vec::with_capacity(mounts.origins.len());
    let mut missing = Vec::new();
    for (at, origin) in mounts.origins.iter().enumerate() {
        let Origin::External(external) = origin else {
            grants.push(None);
            continue;
        };
        let ask = &asked.origins[at];
        match given.grant(at.into(), external, ask) {
            Some(grant) => grants.push(Some(grant)),
            None => missing.push(ask.request(external)),
        }
    }
    let granted = files::grant(wanted, options, &mut missing)?;
    if missing.is_empty() {
        Ok(Grants {
            origins: grants,
            files: granted,
        })
    } else {
        Err(GrantError::Missing(missing))
    }
}

/// What the mounts say of each origin.
struct Asked<'a> {
    origins: Vec<Ask>,
    externals: HashMap<&'a str, OriginIndex>,
    root: Option<OriginIndex>,
    /// Names that are not those of mounts.
    files: HashSet<&'a str>,
}

struct Ask {
    /// The first mount that shows the origin.
    at: RelPath,
    relation: Relation,
}

impl<'a> Asked<'a> {
    fn of(mounts: &'a Mounts, wanted: &'a [Wanted]) -> Self {
        let mut origins: Vec<Option<Ask>> = mounts.origins.iter().map(|_| None).collect();
        for (ns, at, mount) in mounts.every_mount() {
            let relation = relation(mounts, mount);
            match &mut origins[mount.origin.at()] {
                Some(ask) if relation != Relation::None => ask.relation = relation,
                Some(_) => {}
                slot => {
                    let at = mounts.namespaces[ns.at()].path_of(at);
                    *slot = Some(Ask { at, relation });
                }
            }
        }
        let unused = || Ask {
            at: RelPath::root(),
            relation: Relation::None,
        };
        let origins = origins
            .into_iter()
            .map(|ask| ask.unwrap_or_else(unused))
            .collect();
        let externals = mounts
            .origins
            .iter()
            .enumerate()
            .filter_map(|(at, origin)| match origin {
                Origin::External(external) => Some((external, OriginIndex::from(at))),
                Origin::Own(_) => None,
            });
        let root = externals
            .clone()
            .find(|(e, _)| e.role == ExternalRole::Root)
            .map(|(_, at)| at);
        Self {
            origins,
            externals: externals.map(|(e, at)| (e.name.as_str(), at)).collect(),
            root,
            files: wanted
                .iter()
                .filter(|it| it.what != files::Asked::Shown)
                .map(|it| it.name.as_str())
                .collect(),
        }
    }
}

fn relation(mounts: &Mounts, mount: &Mount) -> Relation {
    match mount.propagation {
        Propagation::Slave(Master::Outside(_)) => Relation::Slave,
        Propagation::Shared(group) => match mounts.groups[group.at()].link {
            GroupLink::PeerOfOutside(_) => Relation::Peer,
            GroupLink::SlaveOf(Master::Outside(_)) => Relation::Slave,
            _ => Relation::None,
        },
        _ => Relation::None,
    }
}

impl Ask {
    fn request(&self, external: &External) -> Request {
        let relation = match self.relation {
            Relation::None => "",
            Relation::Slave => ", slave of the host's peer group",
            Relation::Peer => ", PEER of the host's: mounts made inside appear on the host",
        };
        Request {
            name: external.name.clone(),
            shown: format!(
                "{} on {}, mounted at {}{relation}",
                external.kind, external.fs_type, self.at
            ),
            option: self.option(external),
            wish: external
                .wish
                .as_ref()
                .map_or(WishState::Unknown, |_| WishState::Found),
        }
    }

    /// The option that grants an external, with the image's wish where it has one.
    fn option(&self, external: &External) -> String {
        if external.kind.is_pty_slave() {
            return external_option(&external.name, NEW_TERMINAL);
        }
        let wish = match &external.wish {
            Some(Wish::Path(path)) => shell_word(&path.to_bytes()),
            Some(Wish::Kernel { fs, .. }) => format!("kernel:{}", fs.name()),
            None => "SOURCE".to_owned(),
        };
        match (external.role, self.relation) {
            (ExternalRole::Root, _) => format!("--root {wish}"),
            (ExternalRole::Bind, Relation::Slave) => {
                format!(
                    "--slave-mount-map {wish}:{}",
                    shell_word(&self.at.to_absolute())
                )
            }
            (ExternalRole::Bind, _) => external_option(&external.name, &wish),
        }
    }
}

/// A name comes from the image: one that looks like an option must not become one when a
/// person copies the line.
fn external_option(name: &str, source: &str) -> String {
    let between = match name.starts_with('-') {
        true => '=',
        false => ' ',
    };
    format!(
        "--external{between}{}={source}",
        shell_word(name.as_bytes())
    )
}

/// What the command line gives, by origin.
#[derive(Default)]
struct Given {
    auto: bool,
    sources: HashMap<OriginIndex, Vec<u8>>,
    groups: HashMap<OriginIndex, Vec<u8>>,
}

impl Given {
    fn of(options: &Options, asked: &Asked<'_>) -> Result<Self, GrantError> {
        let mut given = Self::default();
        if let Some(root) = &options.root {
            let origin = asked.root.ok_or(GrantError::NoExternalRoot)?;
            given.sources.insert(origin, bytes(root));
        }
        for external in &options.external {
            match external {
                ExternalOption::Auto => given.auto = true,
                ExternalOption::Source { name, .. } if asked.files.contains(name.as_str()) => {}
                // Of network devices, which mounts know nothing of.
                ExternalOption::Source { name, .. }
                    if ends::is_one(name) && !options.mounts_only => {}
                ExternalOption::Source { name, source } => {
                    let origin = asked.externals.get(name.as_str()).copied();
                    let origin = origin.ok_or_else(|| unknown(name, asked))?;
                    if given.sources.insert(origin, bytes(source)).is_some() {
                        return Err(GrantError::Twice(name.clone()));
                    }
                }
            }
        }
        for SlaveMountMap { source, target } in &options.slave_mount_map {
            let shown = Escaped(target).to_string();
            let target = RelPath::from_absolute(target).map_err(|_| unknown(&shown, asked))?;
            let slaves = asked.origins.iter().enumerate();
            let mut slaves =
                slaves.filter(|(_, a)| a.at == target && a.relation == Relation::Slave);
            let (origin, _) = slaves.next().ok_or_else(|| unknown(&shown, asked))?;
            if given.groups.insert(origin.into(), bytes(source)).is_some() {
                return Err(GrantError::Twice(shown));
            }
        }
        Ok(given)
    }

    fn grant(&self, origin: OriginIndex, external: &External, ask: &Ask) -> Option<Grant> {
        let operator = self.sources.get(&origin);
        let group = self.groups.get(&origin);
        let wish = external.wish.as_ref().filter(|_| self.auto);
        let contents = match (operator, group, wish) {
            (Some(path), _, _) => operator_source(path),
            (None, Some(path), _) if external.role == ExternalRole::Bind => {
                Granted::Operator(path.clone())
            }
            // TRUST: the number that the image names is by now the terminal of somebody else.
            (None, _, _) if self.auto && external.kind.is_pty_slave() => Granted::NewTerminal,
            (None, _, Some(Wish::Path(path))) => Granted::Wish(path.clone()),
            (None, _, Some(Wish::Kernel { fs, options })) => Granted::Kernel(*fs, options.clone()),
            (None, _, None) => return None,
        };
        let mut groups = Vec::new();
        if ask.relation != Relation::None {
            let named = operator.filter(|_| matches!(contents, Granted::Operator(_)));
            groups.extend(group.or(named).cloned());
            groups.extend(
                external
                    .group_wish
                    .as_ref()
                    .filter(|_| self.auto)
                    .map(HostPath::to_bytes),
            );
            match &contents {
                Granted::Wish(path) => groups.push(path.to_bytes()),
                Granted::NewTerminal => groups.push(TERMINALS.to_vec()),
                Granted::Operator(_) | Granted::Kernel(..) => {}
            }
        }
        Some(Grant { contents, groups })
    }
}

/// `kernel:NAME` asks for a file system of the kernel's, `pty:new` for a terminal;
/// everything else is a path.
fn operator_source(source: &[u8]) -> Granted {
    if source == NEW_TERMINAL.as_bytes() {
        return Granted::NewTerminal;
    }
    let name = source.strip_prefix(b"kernel:").unwrap_or_default();
    match KernelFs::ALL.iter().find(|fs| fs.name().as_bytes() == name) {
        Some(fs) => Granted::Kernel(*fs, Vec::new()),
        None => Granted::Operator(source.to_vec()),
    }
}

fn unknown(option: &str, asked: &Asked<'_>) -> GrantError {
    let mut known: Vec<String> = asked
        .externals
        .keys()
        .chain(&asked.files)
        .map(|name| (*name).to_owned())
        .collect();
    known.sort_unstable();
    GrantError::UnknownName {
        option: option.to_owned(),
        known,
    }
}

/// A word that a POSIX shell reads as these bytes (non-UTF-8 is shown escaped).
fn shell_word(bytes: &[u8]) -> String {
    let text = Escaped(bytes).to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName { option, known } if known.is_empty() => {
                write!(f, "nothing to grant to {option:?}: the image needs no external source")
            }
            Self::UnknownName { option, known } => {
                write!(f, "the image has no {option:?}; it asks for: {}", known.join(", "))
            }
            Self::NoExternalRoot => {
                f.write_str("--root does not fit: the container's root is a file system of its own, which is in the image")
            }
            Self::Twice(name) => write!(f, "{name:?} is granted twice"),
            Self::Missing(requests) => missing(f, requests),
        }
    }
}

/// The requests, and then the command line that grants them.
fn missing(f: &mut fmt::Formatter<'_>, requests: &[Request]) -> fmt::Result {
    let count = requests.len();
    let plural = if count == 1 { "" } else { "s" };
    write!(
        f,
        "the image asks for {count} source{plural} of this host that nothing grants"
    )?;
    requests
        .iter()
        .try_for_each(|request| write!(f, "\n  {request}"))?;
    let all = |wanted: &[WishState]| requests.iter().all(|it| wanted.contains(&it.wish));
    // What the dumper found no path for, only a person can grant.
    if all(&[WishState::Found]) {
        f.write_str(
            "\n  Grant all that the image names with --external auto, or only these with\n   ",
        )?;
    } else if all(&[WishState::Found, WishState::OpenFile]) {
        f.write_str("\n  Grant them by\n   ")?;
    } else {
        f.write_str(
            "\n  Grant them, with a SOURCE or a descriptor N where the image names none, by\n   ",
        )?;
    }
    let mut said = HashSet::new();
    requests
        .iter()
        .filter(|request| said.insert(&request.option))
        .try_for_each(|request| write!(f, " {}", request.option))
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.shown)
    }
}

#[cfg(test)]
mod tests;
