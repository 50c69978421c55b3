//! Mount tables read from /proc/PID/mountinfo, and compared up to ids.
//!
//! Kind: pure, but for [`Table::of`]. Written apart from crux's own reader on
//! purpose: it shares no code with it.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// One line of mountinfo (proc_pid_mountinfo(5)), escapes left as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Mount id.
    pub id: u64,
    /// Id of the mount it is attached to.
    pub parent: u64,
    /// major:minor
    pub device: String,
    /// The part of the file system that it shows.
    pub root: String,
    /// Where, from the root of the process.
    pub mountpoint: String,
    /// Per-mount options.
    pub attributes: String,
    /// Peer group.
    pub shared: Option<u64>,
    /// Group that it is a slave of.
    pub master: Option<u64>,
    /// Whether it is unbindable.
    pub unbindable: bool,
    /// File system type.
    pub fs_type: String,
    /// Source.
    pub source: String,
    /// Options of the superblock.
    pub options: String,
}

/// The mount table of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(pub Vec<Entry>);

impl Table {
    /// Reads the table of a process.
    pub fn of(pid: impl Display) -> Result<Self> {
        let path = format!("/proc/{pid}/mountinfo");
        let bytes = fs::read(&path).with_context(|| format!("read({path})"))?;
        Self::parse(&bytes)
    }

    /// Reads the table of the calling process.
    pub fn own() -> Result<Self> {
        Self::of("self")
    }

    /// Reads lines as the kernel writes them. Bytes that are not UTF-8 become `\xNN`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let text = printable(line);
                Entry::parse(&text).with_context(|| format!("not a line of mountinfo: {text}"))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The first mount: the one whose parent is not in the table.
    pub fn top(&self) -> Option<&Entry> {
        let known = |id| self.0.iter().any(|entry| entry.id == id);
        self.0.iter().find(|entry| !known(entry.parent))
    }

    /// The entry with this id.
    pub fn get(&self, id: u64) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.id == id)
    }

    /// The uppermost mount at a mountpoint.
    pub fn at(&self, mountpoint: &str) -> Option<&Entry> {
        let here = || self.0.iter().filter(|entry| entry.mountpoint == mountpoint);
        here().find(|entry| !here().any(|other| other.parent == entry.id))
    }

    /// Whether some mount is in, or a slave of, this group.
    pub fn has_group(&self, group: u64) -> bool {
        self.0.iter().any(|entry| entry.shared == Some(group))
    }

    /// A name for a mount that does not depend on ids: its mountpoint, and how
    /// many mounts with the same mountpoint lie below it.
    pub fn label(&self, id: u64) -> String {
        let Some(entry) = self.get(id) else {
            return "?".into();
        };
        let mut depth = 0;
        let mut below = self.get(entry.parent);
        while let Some(under) = below.filter(|under| under.mountpoint == entry.mountpoint) {
            depth += 1;
            below = self.get(under.parent);
        }
        match depth {
            0 => entry.mountpoint.clone(),
            _ => format!("{} (on {depth} more)", entry.mountpoint),
        }
    }

    /// The children of each mount.
    pub(crate) fn children(&self) -> BTreeMap<u64, Vec<&Entry>> {
        let mut children: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
        for entry in self.0.iter().filter(|entry| entry.id != entry.parent) {
            children.entry(entry.parent).or_default().push(entry);
        }
        children
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl Entry {
    /// The mountpoint without escapes.
    pub fn path(&self) -> PathBuf {
        let text = self.mountpoint.as_bytes();
        let mut bytes = Vec::with_capacity(text.len());
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let (byte, length) = unescape(&text[at..]).unwrap_or((byte, 1));
            bytes.push(byte);
            at += length;
        }
        PathBuf::from(OsString::from_vec(bytes))
    }

    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        // The source may be empty: two spaces in a row.
        let mut back = back.splitn(3, ' ');
        let mut entry = Self {
            id: front.next()?.parse().ok()?,
            parent: front.next()?.parse().ok()?,
            device: front.next()?.into(),
            root: front.next()?.into(),
            mountpoint: front.next()?.into(),
            attributes: front.next()?.into(),
            shared: None,
            master: None,
            unbindable: false,
            fs_type: back.next()?.into(),
            source: back.next()?.into(),
            options: back.next()?.into(),
        };
        front.try_for_each(|field| entry.optional(field))?;
        Some(entry)
    }

    fn optional(&mut self, field: &str) -> Option<()> {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        match name {
            "shared" => self.shared = Some(value.parse().ok()?),
            "master" => self.master = Some(value.parse().ok()?),
            "unbindable" => self.unbindable = true,
            // It says what `master` says, as far as the reader's root reaches.
            "propagate_from" => {}
            _ => return None,
        }
        Some(())
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            parent,
            device,
            root,
            mountpoint,
            attributes,
            ..
        } = self;
        write!(f, "{id} {parent} {device} {root} {mountpoint} {attributes}")?;
        if let Some(group) = self.shared {
            write!(f, " shared:{group}")?;
        }
        if let Some(group) = self.master {
            write!(f, " master:{group}")?;
        }
        if self.unbindable {
            write!(f, " unbindable")?;
        }
        write!(f, " - {} {} {}", self.fs_type, self.source, self.options)
    }
}

/// The byte that stands first in `text` as `\NNN` or `\xNN`, and how long that is.
fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let code = std::str::from_utf8(text.strip_prefix(b"\\")?.get(..3)?).ok()?;
    let byte = match code.strip_prefix('x') {
        Some(hex) => u8::from_str_radix(hex, 16),
        None => u8::from_str_radix(code, 8),
    };
    // Both are four characters.
    Some((byte.ok()?, 4))
}

fn printable(line: &[u8]) -> String {
    line.utf8_chunks()
        .map(|chunk| {
            let bad: String = chunk
                .invalid()
                .iter()
                .map(|byte| format!("\\x{byte:02x}"))
                .collect();
            format!("{}{bad}", chunk.valid())
        })
        .collect()
}
