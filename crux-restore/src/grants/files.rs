//! Grants of open files and terminals that tasks had from outside.
//!
//! Kind: pure. No path that an image names is opened for it: `auto` means /dev/null and new terminals only. What
//! is granted has to be of a kind, and open in a way, that can stand in for what was there.

use super::{GrantError, NEW_TERMINAL, Request, external_option, shell_word};
use crate::cli::{External as ExternalOption, Options, bytes};
use crux_image::mounts::FileKind;
use crux_image::path::Escaped;
use crux_image::tasks::{FileAccess, FileFlags};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// `/dev/null`
const NULL: FileKind = FileKind::CharDevice { major: 1, minor: 3 };
/// Names of standard streams, which are the caller's own.
pub(crate) const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];

/// Something that the tasks of an image had open from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) what: Asked,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asked {
    /// An open file.
    File {
        kind: FileKind,
        access: FileAccess,
        flags: FileFlags,
        position: u64,
        /// What it was, in words.
        described: Vec<u8>,
    },
    /// A terminal that no mount of the container shows.
    Terminal {
        /// Whether it is the first process's.
        console: bool,
        /// Whether it is one whose master is gone: nobody has to grant it.
        hung_up: bool,
    },
    /// A terminal in a devpts of the container's own, or that a mount shows: granted with that.
    Shown,
}

/// What stands in for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileGrant {
    /// A descriptor that this program was started with.
    Descriptor(u32),
    /// A path of the operator's.
    Operator(Vec<u8>),
    /// `/dev/null`
    Null,
    /// A new pty of this machine's.
    NewTerminal,
    /// Nothing of its own: see [`Asked::Shown`].
    Shown,
}

/// What is known of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DescriptorFact {
    pub(crate) kind: Option<FileKind>,
    /// None: `O_PATH`.
    pub(crate) access: FileAccess,
    pub(crate) is_terminal: bool,
}

/// By number: those that the command line names, and 0, 1 and 2.
pub(crate) type DescriptorFacts = BTreeMap<u32, DescriptorFact>;

/// The descriptor that a source names.
pub(crate) fn descriptor(source: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(source.strip_prefix(b"fd:")?).ok()?;
    number.parse().ok()
}

/// A grant for each that is wanted. What is missing goes to `missing`.
pub(super) fn grant(
    wanted: &[Wanted],
    options: &Options,
    missing: &mut Vec<Request>,
) -> Result<Vec<Option<FileGrant>>, GrantError> {
    let sources = sources(wanted, options)?;
    let auto = options.external.contains(&ExternalOption::Auto);
    let mut grants = Vec::with_capacity(wanted.len());
    for it in wanted {
        let source = sources.get(it.name.as_str()).map(Vec::as_slice);
        let found = one(it, source, auto, options);
        if found.is_none() {
            missing.push(request(it));
        }
        grants.push(found);
    }
    Ok(grants)
}

fn one(it: &Wanted, source: Option<&[u8]>, auto: bool, options: &Options) -> Option<FileGrant> {
    let given = source.map(|source| match descriptor(source) {
        Some(number) => FileGrant::Descriptor(number),
        None if source == NEW_TERMINAL.as_bytes() => FileGrant::NewTerminal,
        None => FileGrant::Operator(source.to_vec()),
    });
    let otherwise = || match &it.what {
        Asked::Shown => Some(FileGrant::Shown),
        Asked::Terminal { hung_up: true, .. } => Some(FileGrant::NewTerminal),
        Asked::Terminal { console: true, .. } if options.inherit_stdio => {
            Some(FileGrant::Descriptor(0))
        }
        Asked::Terminal { console, .. } => {
            let ways = || options.console_socket.iter().chain(&options.console_broker);
            let named = ways().any(|way| way.name.as_ref() == Some(&it.name));
            let all = ways().any(|way| way.name.is_none());
            (auto || named || all && *console).then_some(FileGrant::NewTerminal)
        }
        Asked::File { kind: NULL, .. } if auto => Some(FileGrant::Null),
        Asked::File { .. } => {
            let number = STREAMS.iter().position(|name| *name == it.name)?;
            let given = options.gives_streams();
            given.then_some(FileGrant::Descriptor(number as u32))
        }
    };
    given.or_else(otherwise)
}

/// What the command line names for these.
fn sources<'a>(
    wanted: &[Wanted],
    options: &'a Options,
) -> Result<HashMap<&'a str, Vec<u8>>, GrantError> {
    let mut found = HashMap::new();
    for external in &options.external {
        let ExternalOption::Source { name, source } = external else {
            continue;
        };
        let mine = |it: &&Wanted| it.name == *name && it.what != Asked::Shown;
        if wanted.iter().any(|it| mine(&it)) && found.insert(name.as_str(), bytes(source)).is_some()
        {
            return Err(GrantError::Twice(name.clone()));
        }
    }
    Ok(found)
}

fn request(it: &Wanted) -> Request {
    let (shown, option, is_complete) = match &it.what {
        Asked::File {
            kind,
            access,
            described,
            ..
        } => {
            let for_what = match access {
                FileAccess::Read => "for reading",
                FileAccess::Write => "for writing",
                FileAccess::ReadWrite => "for reading and writing",
                FileAccess::Path => "as a place",
            };
            let described = Escaped(described);
            let shown = format!("{kind}, open {for_what}, which was {described}");
            let (option, is_complete) = file_option(it, *kind, &described.to_string());
            (shown, option, is_complete)
        }
        Asked::Terminal { .. } | Asked::Shown => (
            "a terminal whose other end was outside the container".to_owned(),
            external_option(&it.name, NEW_TERMINAL),
            true,
        ),
    };
    Request::of_file(it.name.clone(), shown, option, is_complete)
}

/// And whether it can be used as it is.
fn file_option(it: &Wanted, kind: FileKind, described: &str) -> (String, bool) {
    if STREAMS.contains(&it.name.as_str()) {
        return ("--inherit-stdio".to_owned(), true);
    }
    let path = described.strip_suffix(" (deleted)").unwrap_or(described);
    match kind {
        FileKind::Fifo | FileKind::Socket if !path.starts_with('/') => {
            (external_option(&it.name, "fd:N"), false)
        }
        _ if path.starts_with('/') => {
            let path = shell_word(path.as_bytes());
            (external_option(&it.name, &path), path.starts_with('/'))
        }
        _ => (external_option(&it.name, "fd:N"), false),
    }
}

/// Why a descriptor cannot stand in, if so.
pub(crate) fn misfits(
    wanted: &[Wanted],
    grants: &[Option<FileGrant>],
    facts: &DescriptorFacts,
) -> Vec<String> {
    let each = wanted.iter().zip(grants);
    each.filter_map(|(wanted, grant)| {
        let why = match grant.as_ref()? {
            FileGrant::Descriptor(number) => match facts.get(number) {
                None => Some(format!("descriptor {number} is not open")),
                Some(fact) => {
                    misfit(&wanted.what, fact).map(|why| format!("descriptor {number} {why}"))
                }
            },
            FileGrant::NewTerminal if matches!(wanted.what, Asked::File { .. }) => {
                Some("is no terminal".to_owned())
            }
            _ => None,
        };
        Some(format!("{}: {}", wanted.name, why?))
    })
    .collect()
}

/// Why something cannot stand in for what was open.
pub(crate) fn misfit(wanted: &Asked, fact: &DescriptorFact) -> Option<String> {
    let (kind, access) = match wanted {
        Asked::File { kind, access, .. } => (*kind, *access),
        Asked::Terminal { .. } | Asked::Shown => {
            let fits = fact.is_terminal || fact.kind == Some(NULL);
            return match fits && fact.access == FileAccess::ReadWrite {
                true => None,
                false => Some("is no terminal that is open for reading and writing".to_owned()),
            };
        }
    };
    let Some(found) = fact.kind else {
        return (kind != FileKind::Regular).then(|| format!("is no file, but has to be {kind}"));
    };
    if !fits(kind, found) {
        return Some(format!("is {found}, but has to be {kind}"));
    }
    let can = |wanted: FileAccess| fact.access == wanted || fact.access == FileAccess::ReadWrite;
    let enough = match access {
        FileAccess::Path => true,
        FileAccess::ReadWrite => fact.access == FileAccess::ReadWrite,
        one => can(one),
    };
    match (enough, access) {
        (true, _) => None,
        (false, FileAccess::Read) => Some("is not open for reading".to_owned()),
        (false, FileAccess::Write) => Some("is not open for writing".to_owned()),
        (false, _) => Some("is not open for reading and writing".to_owned()),
    }
}

/// Whether one kind can stand in for another: a stream for a stream.
fn fits(wanted: FileKind, found: FileKind) -> bool {
    match wanted {
        FileKind::Fifo => matches!(
            found,
            FileKind::Fifo | FileKind::Regular | FileKind::CharDevice { .. }
        ),
        FileKind::Regular => found == FileKind::Regular || found == NULL,
        FileKind::CharDevice { .. } => found == wanted || found == NULL,
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: FileKind, access: FileAccess) -> Asked {
        Asked::File {
            kind,
            access,
            flags: FileFlags::default(),
            position: 0,
            described: b"pipe:[7]".to_vec(),
        }
    }

    fn fact(kind: FileKind, access: FileAccess) -> DescriptorFact {
        DescriptorFact {
            kind: Some(kind),
            access,
            is_terminal: kind.is_pty_slave(),
        }
    }

    #[test]
    fn a_grant_has_to_be_of_a_kind_and_open_in_a_way_that_can_stand_in() {
        use FileAccess::{Read, ReadWrite, Write};
        use FileKind::{Directory, Fifo, Regular, Socket};
        let terminal = FileKind::CharDevice {
            major: 136,
            minor: 7,
        };
        let cases = [
            (Fifo, Read, Fifo, Read, None),
            (Fifo, Write, Regular, ReadWrite, None),
            (Fifo, Write, terminal, ReadWrite, None),
            (Fifo, Read, Fifo, Write, Some("is not open for reading")),
            (
                Fifo,
                Read,
                Socket,
                ReadWrite,
                Some("is a socket, but has to be a fifo"),
            ),
            (
                Regular,
                Read,
                Directory,
                Read,
                Some("is a directory, but has to be a regular file"),
            ),
            (
                Regular,
                ReadWrite,
                Regular,
                Write,
                Some("is not open for reading and writing"),
            ),
            (
                Directory,
                Read,
                Regular,
                Read,
                Some("is a regular file, but has to be a directory"),
            ),
            (Socket, ReadWrite, Socket, ReadWrite, None),
        ];
        for (wanted, access, found, open, why) in cases {
            let said = misfit(&file(wanted, access), &fact(found, open));
            assert_eq!(said.as_deref(), why, "{wanted} {found}");
        }
        let asked = Asked::Terminal {
            console: true,
            hung_up: false,
        };
        assert_eq!(misfit(&asked, &fact(terminal, ReadWrite)), None);
        assert_eq!(misfit(&asked, &fact(NULL, ReadWrite)), None);
        assert!(misfit(&asked, &fact(Fifo, ReadWrite)).is_some());
    }

    #[test]
    fn auto_opens_nothing_that_the_image_names_but_null() {
        let wanted = |name: &str, what| Wanted {
            name: name.into(),
            what,
        };
        let all = [
            wanted("fd:1:3", file(FileKind::Regular, FileAccess::Write)),
            wanted("fd:1:4", file(NULL, FileAccess::Read)),
            wanted("stdout", file(FileKind::Fifo, FileAccess::Write)),
        ];
        let mut options = Options::for_image(std::path::Path::new("i"));
        options.detach = true;
        let mut missing = Vec::new();
        let grants = grant(&all, &options, &mut missing).unwrap();
        assert_eq!(grants, [None, Some(FileGrant::Null), None]);
        let options_said: Vec<_> = missing.iter().map(|it| it.option.as_str()).collect();
        assert_eq!(options_said, ["--external fd:1:3=fd:N", "--inherit-stdio"]);
        options.inherit_stdio = true;
        options.external.push(ExternalOption::Source {
            name: "fd:1:3".into(),
            source: "/var/log/x".into(),
        });
        let grants = grant(&all, &options, &mut Vec::new()).unwrap();
        let log = FileGrant::Operator(b"/var/log/x".to_vec());
        assert_eq!(
            grants,
            [
                Some(log),
                Some(FileGrant::Null),
                Some(FileGrant::Descriptor(1))
            ]
        );
    }
}
