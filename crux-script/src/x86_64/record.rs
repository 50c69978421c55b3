//! A line as the stub reads it.
//!
//! Kind: pure. The offsets are those of `stub/stub.rs`.

use crate::line::{ARGUMENTS, Expect};

/// Bytes of a line.
pub(crate) const RECORD: u64 = 112;
/// Where in a line its result is.
pub(crate) const RESULT: u64 = 104;

const END: u64 = 64;
const STOP: u64 = 128;

/// A line whose every address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: RecordKind,
    /// Bit by bit, whether the argument is an address to load from.
    pub(crate) indirect: u8,
    pub(crate) number: u64,
    pub(crate) arguments: [u64; ARGUMENTS],
    pub(crate) accepted: Accepted,
    pub(crate) copy_to: u64,
    pub(crate) child: u64,
    pub(crate) result: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Call,
    Stop,
    End,
}

/// An expectation as the stub compares it: within `span` above `lowest`, or `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) lowest: u64,
    pub(crate) span: u64,
    pub(crate) other: u64,
}

impl From<Expect> for Accepted {
    fn from(expect: Expect) -> Self {
        let no_error = u64::MAX - 4095;
        let (lowest, span, other) = match expect {
            Expect::Any => (0, u64::MAX, 0),
            Expect::Success => (0, no_error, 0),
            Expect::SuccessOr(errno) => (0, no_error, errno.result()),
            Expect::Exactly(value) => (value, 0, value),
            Expect::OneOf(value, errno) => (value, 0, errno.result()),
        };
        Self {
            lowest,
            span,
            other,
        }
    }
}

impl Record {
    pub(crate) fn encode(&self) -> [u8; RECORD as usize] {
        let kind = match self.kind {
            RecordKind::Call => 0,
            RecordKind::Stop => STOP,
            RecordKind::End => END,
        };
        let [a, b, c, d, e, f] = self.arguments;
        let Accepted {
            lowest,
            span,
            other,
        } = self.accepted;
        let flags = kind | u64::from(self.indirect);
        let words = [
            flags,
            self.number,
            a,
            b,
            c,
            d,
            e,
            f,
            lowest,
            span,
            other,
            self.copy_to,
            self.child,
            self.result,
        ];
        let mut bytes = [0; RECORD as usize];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// What was encoded. For tests, and to show what a task was about to do.
    #[cfg(test)]
    pub(crate) fn decode(bytes: &[u8; RECORD as usize]) -> Self {
        let word = |index: usize| {
            let bytes = bytes[index * 8..][..8].try_into();
            u64::from_le_bytes(bytes.unwrap())
        };
        let kind = match word(0) & !63 {
            STOP => RecordKind::Stop,
            END => RecordKind::End,
            _ => RecordKind::Call,
        };
        Self {
            kind,
            indirect: word(0) as u8 & 63,
            number: word(1),
            arguments: std::array::from_fn(|index| word(2 + index)),
            accepted: Accepted {
                lowest: word(8),
                span: word(9),
                other: word(10),
            },
            copy_to: word(11),
            child: word(12),
            result: word(13),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::Errno;
    use proptest::prelude::*;

    /// What the stub does.
    fn stub_accepts(it: Accepted, result: u64) -> bool {
        result.wrapping_sub(it.lowest) <= it.span || result == it.other
    }

    fn expectation() -> impl Strategy<Value = Expect> {
        let errno = (1_u16..4096).prop_map(Errno);
        prop_oneof![
            Just(Expect::Any),
            Just(Expect::Success),
            errno.clone().prop_map(Expect::SuccessOr),
            any::<u64>().prop_map(Expect::Exactly),
            (any::<u64>(), errno).prop_map(|(value, errno)| Expect::OneOf(value, errno)),
        ]
    }

    proptest! {
        #[test]
        fn the_stub_accepts_what_the_expectation_says(expect in expectation(), result: u64, near in 0_u64..5000) {
            for result in [result, near, near.wrapping_neg()] {
                prop_assert_eq!(stub_accepts(expect.into(), result), expect.accepts(result));
            }
        }

        #[test]
        fn a_record_is_decoded_as_it_was(
            indirect in 0_u8..64, number: u64, arguments: [u64; 6], expect in expectation(),
            copy_to: u64, child: u64, result: u64, kind in 0..3,
        ) {
            let kind = [RecordKind::Call, RecordKind::Stop, RecordKind::End][kind as usize];
            let accepted = expect.into();
            let record = Record { kind, indirect, number, arguments, accepted, copy_to, child, result };
            prop_assert_eq!(Record::decode(&record.encode()), record);
        }
    }
}
