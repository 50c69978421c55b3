//! Parsing mountinfo, in one pass over its bytes.
//!
//! Kind: pure. The bytes are hostile: names in them are a container's.

use super::entry::{Entry, Root, SuperOption, Unknown};
use super::escape::unescape;
use crate::ids::{Device, MountId, PeerGroupId};
use crux_image::mounts::{Atime, MountAttributes, SuperblockFlags};
use crux_image::path::Escaped;

/// A mount table that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The table was cut.
    #[error("it does not end with a newline")]
    Unterminated,
    /// A field is not there.
    #[error("it ends before the {0}")]
    Missing(&'static str),
    /// A field has to have something in it.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A number was expected.
    #[error("the {field} is \"{}\", not a number below 2^32", Escaped(.found))]
    Number {
        /// Which field.
        field: &'static str,
        /// What is there.
        found: Vec<u8>,
    },
    /// Options begin with the access mode, always.
    #[error("the {field} begin with \"{}\", neither \"rw\" nor \"ro\"", Escaped(.found))]
    Access {
        /// Which options.
        field: &'static str,
        /// What is there.
        found: Vec<u8>,
    },
}

/// Reads a whole table.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, ParseError> {
    let lines = bytes.split_inclusive(|&b| b == b'\n');
    let entries = lines.enumerate().map(|(index, line)| {
        parse_line(line).map_err(|problem| ParseError {
            line: index + 1,
            problem,
        })
    });
    entries.collect()
}

fn parse_line(line: &[u8]) -> Result<Entry, Problem> {
    let line = line.strip_suffix(b"\n").ok_or(Problem::Unterminated)?;
    let mut fields = Fields(Some(line));
    let id = MountId(number("mount id", fields.take("mount id")?)?);
    let parent = MountId(number("parent id", fields.take("parent id")?)?);
    let device = device(fields.take("device")?)?;
    let root = root(filled("root", fields.take("root")?)?);
    let mountpoint = unescape(filled("mountpoint", fields.take("mountpoint")?)?);
    let mut unknown = Vec::new();
    let options = fields.take("per-mount options")?;
    let (attributes, idmapped) = attributes(options, &mut unknown)?;
    let tags = tags(&mut fields, &mut unknown)?;
    let fs_type = unescape(filled(
        "file system type",
        fields.take("file system type")?,
    )?);
    let source = unescape(fields.take("source")?);
    let (flags, options) = super_options(fields.rest("superblock options")?)?;
    Ok(Entry {
        id,
        parent,
        device,
        root,
        mountpoint,
        attributes,
        idmapped,
        shared: tags.shared,
        master: tags.master,
        propagate_from: tags.propagate_from,
        unbindable: tags.unbindable,
        unknown,
        fs_type,
        source,
        flags,
        options,
    })
}

/// The fields of a line that are left: one space between two, so that an empty
/// source is a field too.
struct Fields<'a>(Option<&'a [u8]>);

impl<'a> Fields<'a> {
    fn take(&mut self, name: &'static str) -> Result<&'a [u8], Problem> {
        let rest = self.rest(name)?;
        let Some(at) = rest.iter().position(|&b| b == b' ') else {
            return Ok(rest);
        };
        self.0 = Some(&rest[at + 1..]);
        Ok(&rest[..at])
    }

    /// All that is left, spaces included: the last field runs to the end of the line.
    fn rest(&mut self, name: &'static str) -> Result<&'a [u8], Problem> {
        self.0.take().ok_or(Problem::Missing(name))
    }
}

fn filled<'a>(name: &'static str, field: &'a [u8]) -> Result<&'a [u8], Problem> {
    if field.is_empty() {
        Err(Problem::Empty(name))
    } else {
        Ok(field)
    }
}

/// Digits only: no sign, no space.
fn number(field: &'static str, found: &[u8]) -> Result<u32, Problem> {
    let digits = found.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(found)
        .ok()
        .filter(|_| digits)
        .and_then(|s| s.parse().ok());
    value.ok_or_else(|| Problem::Number {
        field,
        found: found.to_vec(),
    })
}

fn device(found: &[u8]) -> Result<Device, Problem> {
    let colon = found.iter().position(|&b| b == b':').unwrap_or(found.len());
    let (major, minor) = found.split_at(colon);
    Ok(Device {
        major: number("device's major number", major)?,
        minor: number(
            "device's minor number",
            minor.strip_prefix(b":").unwrap_or(minor),
        )?,
    })
}

fn root(field: &[u8]) -> Root {
    let (path, deleted) = match field.strip_suffix(b"//deleted") {
        Some(path) => (path, true),
        None => (field, false),
    };
    Root {
        path: unescape(path),
        deleted,
    }
}

/// The access mode at the head of options, and the others.
fn access<'a>(
    field: &'static str,
    options: &'a [u8],
) -> Result<(bool, impl Iterator<Item = &'a [u8]>), Problem> {
    let mut words = options.split(|&b| b == b',');
    match words.next() {
        Some(b"rw") => Ok((false, words)),
        Some(b"ro") => Ok((true, words)),
        found => Err(Problem::Access {
            field,
            found: found.unwrap_or_default().to_vec(),
        }),
    }
}

/// As show_mnt_opts in the kernel's fs/proc_namespace.c prints them.
fn attributes(
    options: &[u8],
    unknown: &mut Vec<Unknown>,
) -> Result<(MountAttributes, bool), Problem> {
    let (readonly, words) = access("per-mount options", options)?;
    let mut found = MountAttributes {
        readonly,
        atime: Atime::Strict,
        ..MountAttributes::default()
    };
    let mut idmapped = false;
    for word in words {
        match word {
            b"nosuid" => found.nosuid = true,
            b"nodev" => found.nodev = true,
            b"noexec" => found.noexec = true,
            b"nodiratime" => found.nodiratime = true,
            b"nosymfollow" => found.nosymfollow = true,
            b"noatime" if found.atime == Atime::Strict => found.atime = Atime::Noatime,
            b"relatime" if found.atime == Atime::Strict => found.atime = Atime::Relatime,
            b"idmapped" => idmapped = true,
            other => unknown.push(Unknown::Attribute(unescape(other))),
        }
    }
    Ok((found, idmapped))
}

#[derive(Default)]
struct Tags {
    shared: Option<PeerGroupId>,
    master: Option<PeerGroupId>,
    propagate_from: Option<PeerGroupId>,
    unbindable: bool,
}

/// The optional fields, up to the lone hyphen.
fn tags(fields: &mut Fields<'_>, unknown: &mut Vec<Unknown>) -> Result<Tags, Problem> {
    let mut tags = Tags::default();
    loop {
        let field = fields.take("separator \"-\"")?;
        let colon = field
            .iter()
            .position(|&b| b == b':')
            .map_or(field.len(), |at| at + 1);
        let (slot, name) = match &field[..colon] {
            b"-" => return Ok(tags),
            b"shared:" => (&mut tags.shared, "peer group of shared:"),
            b"master:" => (&mut tags.master, "peer group of master:"),
            b"propagate_from:" => (&mut tags.propagate_from, "peer group of propagate_from:"),
            b"unbindable" if !tags.unbindable => {
                tags.unbindable = true;
                continue;
            }
            _ => {
                unknown.push(Unknown::Field(unescape(field)));
                continue;
            }
        };
        if slot.is_some() {
            unknown.push(Unknown::Field(unescape(field)));
            continue;
        }
        *slot = Some(PeerGroupId(number(name, &field[colon..])?));
    }
}

/// Flags come first (show_sb_opts in fs/proc_namespace.c); after the first word that is none, all are the file system's
/// own. Commas within a value are escaped, so they are split before they are unescaped.
fn super_options(field: &[u8]) -> Result<(SuperblockFlags, Vec<SuperOption>), Problem> {
    let (readonly, words) = access("superblock options", field)?;
    let mut flags = SuperblockFlags {
        readonly,
        ..SuperblockFlags::default()
    };
    let mut options = Vec::new();
    let mut own = false;
    for word in words {
        match word {
            b"sync" if !own => flags.sync = true,
            b"dirsync" if !own => flags.dirsync = true,
            b"lazytime" if !own => flags.lazytime = true,
            _ => {
                own |= word != b"mand";
                options.push(super_option(word));
            }
        }
    }
    Ok((flags, options))
}

fn super_option(word: &[u8]) -> SuperOption {
    let equals = word.iter().position(|&b| b == b'=').unwrap_or(word.len());
    let value = word.get(equals + 1..).map(unescape);
    SuperOption {
        key: unescape(&word[..equals]),
        value,
    }
}
