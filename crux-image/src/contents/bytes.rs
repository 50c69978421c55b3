//! Checked byte strings of a recorded tree: names, targets of symlinks, extended attributes.
//!
//! Kind: pure. They are encoded as one block of bytes: serde would otherwise
//! encode a `Vec<u8>` element by element.

use crate::path::Escaped;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Why a byte string was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than the kernel allows.
    #[error("it is longer than {0} bytes")]
    Length(usize),
    /// It has a NUL byte, or a slash where none may be.
    #[error("it has a NUL byte or a slash")]
    Byte,
    /// `.` or `..`.
    #[error("it is \".\" or \"..\"")]
    Dots,
}

macro_rules! byte_string {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Vec<u8>);

        impl $name {
            /// Checks `bytes`.
            pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BytesError> {
                let bytes = bytes.into();
                let check: fn(&[u8]) -> Result<(), BytesError> = $check;
                check(&bytes)?;
                Ok(Self(bytes))
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", Escaped(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = deserializer.deserialize_byte_buf(Block)?;
                Self::new(bytes).map_err(|e| de::Error::custom(format_args!(
                    concat!("a ", stringify!($name), " is refused: {}"), e)))
            }
        }
    };
}

byte_string!(
    /// The name of a file in its directory: one component.
    Name,
    |bytes| match bytes {
        b"." | b".." => Err(BytesError::Dots),
        _ => plain(bytes, 255, b"\0/"),
    }
);
byte_string!(
    /// Where a symlink points: any bytes but NUL. Never followed by us.
    LinkTarget,
    |bytes| plain(bytes, 4095, b"\0")
);
byte_string!(
    /// The name of an extended attribute with its prefix (xattr(7)).
    XattrName,
    |bytes| plain(bytes, 255, b"\0")
);
byte_string!(
    /// The value of an extended attribute, as the kernel gave it: POSIX ACLs and
    /// file capabilities too.
    XattrValue,
    |bytes| limited(bytes, 64 << 10)
);
byte_string!(
    /// The whole contents of a small file.
    Inline,
    |bytes| limited(bytes, super::INLINE_LIMIT)
);

fn plain(bytes: &[u8], limit: usize, refused: &[u8]) -> Result<(), BytesError> {
    if bytes.is_empty() {
        return Err(BytesError::Empty);
    }
    limited(bytes, limit)?;
    if bytes.iter().any(|b| refused.contains(b)) {
        return Err(BytesError::Byte);
    }
    Ok(())
}

fn limited(bytes: &[u8], limit: usize) -> Result<(), BytesError> {
    if bytes.len() > limit {
        return Err(BytesError::Length(limit));
    }
    Ok(())
}

/// Takes one block of bytes from a decoder, which bounds its length itself.
struct Block;

impl de::Visitor<'_> for Block {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block of bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_component() {
        for bad in ["", ".", "..", "a/b", "/", "a\0", &"x".repeat(256)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        for good in [&b"..."[..], b"\xff\n", b" ", &[b'x'; 255]] {
            assert!(Name::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn targets_may_point_anywhere_but_have_an_end() {
        assert!(LinkTarget::new("../../etc/passwd").is_ok());
        assert_eq!(LinkTarget::new(""), Err(BytesError::Empty));
        assert_eq!(
            LinkTarget::new("x".repeat(4096)),
            Err(BytesError::Length(4095))
        );
    }
}
