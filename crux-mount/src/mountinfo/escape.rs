//! The octal escapes of mount tables (seq_escape in the kernel's fs/seq_file.c).
//!
//! Kind: pure.

/// Undoes `\ooo`. A backslash that begins no escape stands for itself: the kernel
/// escapes every one, but a file system may print its options unescaped.
pub(super) fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[4..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn octal(bytes: &[u8]) -> Option<u8> {
    match *bytes {
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
            Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
        }
        _ => None,
    }
}

/// What the kernel escapes in each kind of field.
pub(super) const PATH: &[u8] = b" \t\n\\";
pub(super) const SOURCE: &[u8] = b" \t\n\\#";
pub(super) const OPTION_KEY: &[u8] = b",= \t\n\\";
pub(super) const OPTION_VALUE: &[u8] = b", \t\n\\";

pub(super) fn escape(bytes: &[u8], which: &[u8], out: &mut Vec<u8>) {
    for &b in bytes {
        if which.contains(&b) {
            out.extend([b'\\', b'0' + (b >> 6), b'0' + (b >> 3 & 7), b'0' + (b & 7)]);
        } else {
            out.push(b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_escapes_are_undone_once() {
        assert_eq!(
            unescape(b"a\\040b\\011\\012\\134040\\043"),
            b"a b\t\n\\040#"
        );
        assert_eq!(unescape(b"\\054w:\\134:x"), b",w:\\:x");
        assert_eq!(unescape(b"\\377"), b"\xff");
    }

    #[test]
    fn a_backslash_that_begins_no_escape_is_kept() {
        for raw in [&b"\\"[..], b"\\0", b"\\04", b"\\400", b"\\089", b"a\\,b"] {
            assert_eq!(unescape(raw), raw);
        }
    }
}
