//! Messages of nfnetlink, and batches of them, which are done as a whole or not at all.
//!
//! Kind: pure.

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// To make something that is not there.
pub(crate) const NEW: u16 = 0x400 | 0x200;
/// To make something at the end.
pub(crate) const APPEND: u16 = 0x400 | 0x800;
/// To make something.
pub(crate) const ADD: u16 = 0x400;

const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NESTED: u16 = 0x8000;

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    kind: u16,
    flags: u16,
    body: Nest,
}

impl Message {
    /// Of nftables, for a family of addresses.
    pub(crate) fn new(kind: u16, flags: u16, family: u8) -> Self {
        let body = Nest(vec![family, 0, 0, 0]);
        Self {
            kind: NFTABLES << 8 | kind,
            flags,
            body,
        }
    }

    fn of_batch(kind: u16) -> Self {
        let [high, low] = NFTABLES.to_be_bytes();
        let body = Nest(vec![0, 0, high, low]);
        Self {
            kind,
            flags: 0,
            body,
        }
    }

    pub(crate) fn text(self, kind: u16, text: &[u8]) -> Self {
        let body = self.body.text(kind, text);
        Self { body, ..self }
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        let body = self.body.number(kind, value);
        Self { body, ..self }
    }

    pub(crate) fn nest(self, kind: u16, nest: Nest) -> Self {
        let body = self.body.nest(kind, nest);
        Self { body, ..self }
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        let length = HEADER + self.body.0.len();
        bytes.extend((length as u32).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | self.flags).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(&self.body.0);
    }
}

/// All of them in one; the last of them is acknowledged.
pub(crate) fn batch(mut messages: Vec<Message>) -> Vec<u8> {
    if let Some(last) = messages.last_mut() {
        last.flags |= NLM_F_ACK;
    }
    let mut bytes = Vec::new();
    Message::of_batch(BATCH_BEGIN).put(&mut bytes);
    for message in &messages {
        message.put(&mut bytes);
    }
    Message::of_batch(BATCH_END).put(&mut bytes);
    bytes
}

/// Attributes, in an attribute or a message. Numbers are big-endian.
#[derive(Debug, Default)]
pub(crate) struct Nest(Vec<u8>);

impl Nest {
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// With its NUL.
    pub(crate) fn text(self, kind: u16, text: &[u8]) -> Self {
        self.bytes(kind, &[text, b"\0"].concat())
    }

    pub(crate) fn nest(self, kind: u16, nest: Self) -> Self {
        self.bytes(kind | NESTED, &nest.0)
    }
}

/// Attributes that are all numbers.
pub(crate) fn numbers<const N: usize>(all: [(u16, u32); N]) -> Nest {
    let all = all.into_iter();
    all.fold(Nest::default(), |nest, (kind, value)| {
        nest.number(kind, value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_of_a_batch_is_acknowledged() {
        let bytes = batch(vec![Message::new(0, NEW, 2), Message::new(3, NEW, 2)]);
        assert_eq!(bytes.len(), 4 * 20);
        assert_eq!(bytes[6..8], BATCH_FLAGS);
        assert_eq!(bytes[26..28], 0x601_u16.to_ne_bytes());
        assert_eq!(bytes[46..48], 0x605_u16.to_ne_bytes());
        assert_eq!(bytes[36..40], [2, 0, 0, 0]);
    }

    const BATCH_FLAGS: [u8; 2] = NLM_F_REQUEST.to_ne_bytes();

    #[test]
    fn attributes_are_padded() {
        let nest = Nest::default().text(1, b"abcd").number(2, 1);
        assert_eq!(nest.0.len(), 12 + 8);
        assert_eq!(nest.0[16..], [0, 0, 0, 1]);
    }
}
