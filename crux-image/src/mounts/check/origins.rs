//! Rules for origins: names, options, contents.
//!
//! Kind: pure.

use super::{Place, Rule};
use crate::mounts::{
    Contents, External, ExternalRole, FsOption, Mounts, MountsError, NamespaceContext, Origin,
    OwnFileSystem, OwnFsType, Queue, Terminal, Wish,
};
use crate::path::{Escaped, PATH_LIMIT, RelPath, is_printable};
use std::collections::HashSet;

const OPTION_LIMIT: usize = 4096;
const TERMINAL_LIMIT: usize = 1 << 20;
/// The kernel's own limit (`HARD_QUEUESMAX`, linux/ipc_namespace.h).
const QUEUE_LIMIT: usize = 1024;

pub(super) fn check(mounts: &Mounts) -> Result<(), MountsError> {
    let mut names = HashSet::new();
    let mut roots = 0;
    for (at, origin) in mounts.origins.iter().enumerate() {
        let result = match origin {
            Origin::Own(own) => check_own(mounts, own),
            Origin::External(external) => {
                roots += usize::from(external.role == ExternalRole::Root);
                check_external(external, roots).and_then(|()| {
                    match names.insert(external.name.as_str()) {
                        true => Ok(()),
                        false => Err(Rule::NameTaken(external.name.clone())),
                    }
                })
            }
        };
        result.map_err(|rule| rule.at(place(at, origin)))?;
    }
    Ok(())
}

pub(super) fn place(at: usize, origin: &Origin) -> Place {
    let name = match origin {
        Origin::Own(own) => own.fs_type.name().as_bytes(),
        Origin::External(external) => external.name.as_bytes(),
    };
    Place::Origin(at, Escaped(&name[..name.len().min(256)]).to_string())
}

fn check_own(mounts: &Mounts, own: &OwnFileSystem) -> Result<(), Rule> {
    mounts.has_user(own.user)?;
    check_bytes(&own.source)?;
    check_options(&own.options)?;
    check_contents(own)
}

fn check_external(external: &External, roots: usize) -> Result<(), Rule> {
    let name = &external.name;
    if name.is_empty() || name.len() > PATH_LIMIT || name == "auto" {
        return Err(Rule::Name);
    }
    if name.contains('=') || !is_printable(name) {
        return Err(Rule::Name);
    }
    if roots > 1 {
        return Err(Rule::TwoRoots);
    }
    if external.role == ExternalRole::Root && !external.kind.is_directory() {
        return Err(Rule::ExternalRootKind);
    }
    if external.fs_type.len() > 255 || !is_printable(&external.fs_type) {
        return Err(Rule::FsTypeName);
    }
    match &external.wish {
        Some(Wish::Kernel { options, .. }) => check_options(options),
        Some(Wish::Path(_)) | None => Ok(()),
    }
}

fn check_options(options: &[FsOption]) -> Result<(), Rule> {
    if options.len() > OPTION_LIMIT {
        let count = options.len();
        return Err(Rule::TooMany {
            what: "options",
            count,
            limit: OPTION_LIMIT,
        });
    }
    for option in options {
        let sane = |b: u8| b.is_ascii_alphanumeric() || b"_-.+:".contains(&b);
        if option.key.is_empty() || option.key.len() > 255 || !option.key.bytes().all(sane) {
            return Err(Rule::OptionKey);
        }
        check_bytes(option.value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn check_bytes(bytes: &[u8]) -> Result<(), Rule> {
    match bytes.len() > PATH_LIMIT || bytes.contains(&0) {
        true => Err(Rule::OptionValue),
        false => Ok(()),
    }
}

fn check_contents(own: &OwnFileSystem) -> Result<(), Rule> {
    use OwnFsType as T;
    match (&own.contents, own.fs_type) {
        (Contents::Kernel, _) => Ok(()),
        (Contents::Tree(section), T::Tmpfs | T::Ramfs) => section
            .offset
            .checked_add(section.length)
            .filter(|end| *end <= i64::MAX as u64)
            .map(|_| ())
            .ok_or(Rule::ContentsRange),
        (Contents::Terminals(terminals), T::Devpts) => check_terminals(terminals),
        // Never in the ipc namespace of whoever restores.
        (Contents::Queues(queues), T::Mqueue) if own.context != NamespaceContext::Caller => {
            check_queues(queues)
        }
        (_, other) => Err(Rule::ContentsKind(other.name())),
    }
}

fn check_queues(queues: &[Queue]) -> Result<(), Rule> {
    if queues.len() > QUEUE_LIMIT {
        let count = queues.len();
        return Err(Rule::TooMany {
            what: "queues",
            count,
            limit: QUEUE_LIMIT,
        });
    }
    let names: HashSet<&[u8]> = queues.iter().map(|queue| queue.name.as_slice()).collect();
    let is_name = |name: &[u8]| {
        RelPath::new(name).is_ok_and(|path| !path.is_root() && path.components().count() == 1)
    };
    match names.len() < queues.len() || queues.iter().any(|q| q.mode > 0o7777 || !is_name(&q.name))
    {
        true => Err(Rule::Queue),
        false => Ok(()),
    }
}

fn check_terminals(terminals: &[Terminal]) -> Result<(), Rule> {
    if terminals.len() > TERMINAL_LIMIT {
        let count = terminals.len();
        return Err(Rule::TooMany {
            what: "terminals",
            count,
            limit: TERMINAL_LIMIT,
        });
    }
    let numbers: HashSet<u32> = terminals.iter().map(|terminal| terminal.number).collect();
    match numbers.len() < terminals.len() || terminals.iter().any(|t| t.mode > 0o7777) {
        true => Err(Rule::Terminal),
        false => Ok(()),
    }
}
