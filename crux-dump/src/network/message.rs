//! Answers of netlink(7), taken apart.
//!
//! Kind: pure. They come from the kernel, but what they say a container has chosen: what is too short is none.

use crux_image::tasks::NetAttribute;

/// `struct nlmsghdr`
pub(super) const HEADER: usize = 16;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
/// An attribute's type without its two flags.
const TYPE: u16 = 0x3fff;

/// A message: its type and what follows the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// The struct that a message begins with, and its attributes.
    pub(super) fn split(&self, header: usize) -> Option<(&[u8], Vec<NetAttribute>)> {
        let (head, rest) = self.body.split_at_checked(header)?;
        Some((head, attributes(rest)))
    }

    /// What an error says: 0, or an errno.
    pub(super) fn error(&self) -> i32 {
        word(&self.body, 0).map_or(0, |it| -(it as i32))
    }
}

/// The messages of one datagram.
pub(super) fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER..length) else {
            break;
        };
        let body = body.to_vec();
        all.push(Message { kind, body });
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    all
}

/// A list of attributes. One that is too long ends it.
pub(super) fn attributes(mut bytes: &[u8]) -> Vec<NetAttribute> {
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        all.push(NetAttribute {
            kind: kind & TYPE,
            value: value.to_vec(),
        });
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    all
}

/// The attribute of a type.
pub(super) fn find(all: &[NetAttribute], kind: u16) -> Option<&[u8]> {
    let found = all.iter().find(|it| it.kind == kind);
    found.map(|it| it.value.as_slice())
}

/// The attributes within the attribute of a type.
pub(super) fn nested(all: &[NetAttribute], kind: u16) -> Vec<NetAttribute> {
    find(all, kind).map(attributes).unwrap_or_default()
}

/// The number that the attribute of a type is.
pub(super) fn number(all: &[NetAttribute], kind: u16) -> Option<u32> {
    find(all, kind).and_then(|value| word(value, 0))
}

/// The text that the attribute of a type is, up to its NUL.
pub(super) fn text(all: &[NetAttribute], kind: u16) -> Vec<u8> {
    let value = find(all, kind).unwrap_or_default();
    value.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn aligned(length: usize) -> usize {
    length.max(4).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_end_where_they_are_cut() {
        let mut bytes = Vec::new();
        bytes.extend(28_u32.to_ne_bytes());
        bytes.extend(20_u16.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([7, 0, 0, 0]);
        bytes.extend([5, 0, 3, 0x80, 9, 0, 0, 0]);
        let found = messages(&bytes);
        let (head, all) = found[0].split(4).unwrap();
        assert_eq!((found.len(), found[0].kind, head[0]), (1, 20, 7));
        assert_eq!(find(&all, 3), Some(&[9][..]));
        assert_eq!(messages(&bytes[..27]), []);
        assert_eq!(attributes(&[9, 0, 3, 0, 9]), []);
        assert_eq!(attributes(&[0, 0, 3, 0]), []);
    }
}
