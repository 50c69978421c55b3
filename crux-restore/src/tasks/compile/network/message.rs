//! A message of netlink(7).
//!
//! Kind: pure.

use crux_image::tasks::NetAttribute;

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// To make something that is not there.
pub(super) const NEW: u16 = 0x400 | 0x200;
/// To make something, or change what is there.
pub(super) const SET: u16 = 0x400 | 0x100;
/// To make something beside what is there.
pub(super) const APPEND: u16 = 0x400 | 0x800;

/// A question that is answered with an error, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tasks::compile) struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// Without attributes yet.
    pub(super) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let body = header.to_vec();
        Self { kind, flags, body }
    }

    /// With one more.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        put(&mut self.body, kind, value);
        self
    }

    /// With a number.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_ne_bytes())
    }

    /// With a text and its NUL.
    pub(super) fn text(self, kind: u16, text: &[u8]) -> Self {
        self.with(kind, &[text, b"\0"].concat())
    }

    /// With all of these.
    pub(super) fn all(self, attributes: &[NetAttribute]) -> Self {
        let each = attributes.iter();
        each.fold(self, |message, it| message.with(it.kind, &it.value))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = HEADER + self.body.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend((length as u32).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | NLM_F_ACK | self.flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(&self.body);
        bytes
    }
}

/// Attributes within an attribute.
#[derive(Debug, Clone, Default)]
pub(super) struct Nest(pub(super) Vec<u8>);

impl Nest {
    /// With one more.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        put(&mut self.0, kind, value);
        self
    }

    /// With all of these.
    pub(super) fn all(self, attributes: &[NetAttribute]) -> Self {
        let each = attributes.iter();
        each.fold(self, |nest, it| nest.with(it.kind, &it.value))
    }
}

fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((value.len() as u16 + 4).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_lengths_are_true() {
        let message = Message::new(16, NEW, &[1; 4]).text(3, b"lo").number(4, 7);
        let bytes = message.bytes();
        assert_eq!(bytes.len(), 16 + 4 + 8 + 8);
        assert_eq!(bytes[0], bytes.len() as u8);
        assert_eq!(bytes[20..28], [7, 0, 3, 0, b'l', b'o', 0, 0]);
    }
}
