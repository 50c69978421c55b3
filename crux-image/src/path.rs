//! Paths as the kernel has them: bytes.
//!
//! Kind: pure. Two types, so that a path inside a file system is never taken
//! for one on the host. Both are checked when they are made and again when
//! they are decoded from an image. Nothing here touches a file system.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A NUL byte cannot be part of any path.
    #[error("the path has a NUL byte")]
    Nul,
    /// `.`, `..` or an empty component.
    #[error("the path has a component that is empty, \".\" or \"..\"")]
    Component,
    /// A component of more than 255 bytes (`NAME_MAX`).
    #[error("the path has a component of more than 255 bytes")]
    ComponentLength,
    /// An absolute path was expected.
    #[error("the path does not begin with \"/\"")]
    NotAbsolute,
    /// Longer than 1 MiB, which no mount table holds.
    #[error("the path is longer than 1 MiB")]
    Length,
}

/// The longest path an image may hold, in bytes. Paths in a mount table may be
/// longer than `PATH_MAX` (they grow by depth), but not without bound.
pub const PATH_LIMIT: usize = 1 << 20;
const COMPONENT_LIMIT: usize = 255;

/// A path relative to the root of a file system or of a mount, without a
/// leading slash. The empty path is that root itself. No component is empty,
/// `.` or `..`, so it cannot lead out of where it starts (symlinks aside, which
/// are refused when it is resolved).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The root itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Checks `bytes`; leading slashes are not accepted, see [`Self::from_absolute`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        check(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes a path as mountinfo prints it (`/`, `/a/b`) relative to `/`.
    pub fn from_absolute(bytes: &[u8]) -> Result<Self, PathError> {
        match bytes.strip_prefix(b"/") {
            Some(rest) => Self::new(rest),
            None => Err(PathError::NotAbsolute),
        }
    }

    /// The bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, outermost first; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// How many components there are.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// What remains of `self` beneath `prefix`, or `None` if it is not beneath it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        if prefix.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(prefix.0.as_slice())?;
        match rest.split_first() {
            None => Some(Self::root()),
            Some((b'/', rest)) => Some(Self(rest.to_vec())),
            Some(_) => None,
        }
    }

    /// Whether `self` is `prefix` or lies beneath it.
    pub fn is_beneath(&self, prefix: &Self) -> bool {
        prefix.is_root()
            || self
                .0
                .strip_prefix(prefix.0.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// `self`, then `rest`.
    pub fn join(&self, rest: &Self) -> Self {
        match (self.is_root(), rest.is_root()) {
            (true, _) => rest.clone(),
            (_, true) => self.clone(),
            _ => Self([&self.0[..], b"/", &rest.0[..]].concat()),
        }
    }

    /// The path without its last component, and that component; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => (Self(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (Self::root(), &self.0[..]),
        })
    }

    /// The longest path that both lie beneath.
    pub fn common_ancestor(&self, other: &Self) -> Self {
        let shared = self.components().zip(other.components());
        let same: Vec<&[u8]> = shared.take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
        Self(same.join(&b'/'))
    }

    /// The path with a leading slash, as mountinfo prints it (unescaped).
    pub fn to_absolute(&self) -> Vec<u8> {
        [b"/", &self.0[..]].concat()
    }
}

fn check(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.is_empty() {
        return Ok(());
    }
    if bytes.len() > PATH_LIMIT {
        return Err(PathError::Length);
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul);
    }
    for component in bytes.split(|&b| b == b'/') {
        if matches!(component, b"" | b"." | b"..") {
            return Err(PathError::Component);
        }
        if component.len() > COMPONENT_LIMIT {
            return Err(PathError::ComponentLength);
        }
    }
    Ok(())
}

impl TryFrom<Vec<u8>> for RelPath {
    type Error = PathError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, PathError> {
        Self::new(bytes)
    }
}

impl From<RelPath> for Vec<u8> {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", Escaped(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An absolute path on the host that dumps or restores. In an image it is a
/// wish and nothing more: only the operator grants it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct HostPath(RelPath);

impl HostPath {
    /// Checks that `bytes` begin with a slash and have no `.` or `..`.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        RelPath::from_absolute(bytes).map(Self)
    }

    /// The path with its leading slash.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_absolute()
    }

    /// The path relative to the host's root.
    pub fn as_rel(&self) -> &RelPath {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for HostPath {
    type Error = PathError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, PathError> {
        Self::new(&bytes)
    }
}

impl From<HostPath> for Vec<u8> {
    fn from(path: HostPath) -> Self {
        path.to_bytes()
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shows bytes that a container chose: printable UTF-8 as it is, everything
/// else (control characters, invalid bytes, the backslash) as octal escapes,
/// so that no name can move a terminal's cursor.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' || !is_plain(c) {
                    let mut buffer = [0; 4];
                    for b in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\{b:03o}")?;
                    }
                } else {
                    write!(f, "{c}")?;
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\{b:03o}")?;
            }
        }
        Ok(())
    }
}

/// Whether a text can be shown as it is.
pub(crate) fn is_printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() && is_plain(c))
}

/// Bidirectional controls and the like reorder what a reader sees.
fn is_plain(c: char) -> bool {
    !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rel(s: &str) -> RelPath {
        RelPath::new(s).unwrap()
    }

    #[test]
    fn paths_that_could_leave_their_root_are_refused() {
        for bad in ["..", "a/../b", "a//b", "./a", "a/", "/a"] {
            assert_eq!(RelPath::new(bad), Err(PathError::Component), "{bad}");
        }
        assert_eq!(RelPath::new("a\0b"), Err(PathError::Nul));
        assert_eq!(
            RelPath::new("x".repeat(256)),
            Err(PathError::ComponentLength)
        );
        assert_eq!(HostPath::new(b"a"), Err(PathError::NotAbsolute));
    }

    #[test]
    fn prefixes_end_at_component_boundaries() {
        assert_eq!(rel("a/b").strip_prefix(&rel("a")), Some(rel("b")));
        assert_eq!(rel("a").strip_prefix(&rel("a")), Some(RelPath::root()));
        assert_eq!(rel("ab").strip_prefix(&rel("a")), None);
        assert!(!rel("ab").is_beneath(&rel("a")));
        assert_eq!(rel("a/b/c").common_ancestor(&rel("a/bc")), rel("a"));
    }

    #[test]
    fn hostile_names_are_shown_escaped() {
        let shown = Escaped(b"a\x1b[2J\xff\\ \xc3\xa9").to_string();
        assert_eq!(shown, "a\\033[2J\\377\\134 \u{e9}");
    }
}
