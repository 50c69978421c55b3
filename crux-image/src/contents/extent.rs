//! Extents: which part of a file is where in the data member.
//!
//! Kind: pure.

use super::Rule;
use serde::{Deserialize, Serialize};

/// The data of every extent begin at a multiple of this in the data member, in bytes.
pub const DATA_ALIGNMENT: u64 = 4096;

/// The most extents that one entry holds.
pub const EXTENTS_IN_ENTRY: usize = 256;

/// A run of data in a file. What lies between two of them is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Where it begins in the file, in bytes.
    pub at: u64,
    /// Its length in bytes; not 0.
    pub length: u64,
    /// Where its data begin in the data member, in bytes.
    pub place: u64,
    /// CRC-32 (IEEE) of its data.
    pub crc32: u32,
}

impl Extent {
    /// Checks against where the one before ended, in the file and in the data
    /// member, and against what both are long; gives the new ends. Data never
    /// serve two extents: an image cannot ask for more bytes than it has.
    pub(super) fn check(&self, before: Ends, limits: Ends) -> Result<Ends, Rule> {
        let end = self.at.checked_add(self.length).ok_or(Rule::ExtentRange)?;
        let place_end = self
            .place
            .checked_add(self.length)
            .ok_or(Rule::ExtentPlace)?;
        if self.length == 0 || end > limits.file {
            return Err(Rule::ExtentRange);
        }
        if self.at < before.file {
            return Err(Rule::ExtentOrder);
        }
        if !self.place.is_multiple_of(DATA_ALIGNMENT)
            || self.place < before.data
            || place_end > limits.data
        {
            return Err(Rule::ExtentPlace);
        }
        Ok(Ends {
            file: end,
            data: place_end,
        })
    }
}

/// A position in a file, and one in the data member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) file: u64,
    pub(super) data: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Ends = Ends {
        file: 100_000,
        data: 1 << 20,
    };
    const BEFORE: Ends = Ends {
        file: 10,
        data: 8192,
    };

    fn check(at: u64, length: u64, place: u64) -> Result<Ends, Rule> {
        Extent {
            at,
            length,
            place,
            crc32: 0,
        }
        .check(BEFORE, LIMITS)
    }

    #[test]
    fn hostile_extents_are_refused() {
        for (at, length, place, rule) in [
            (10, 0, 8192, Rule::ExtentRange),
            (u64::MAX, 1, 8192, Rule::ExtentRange),
            (u64::MAX, 2, 8192, Rule::ExtentRange),
            (10, 100_000, 8192, Rule::ExtentRange),
            (9, 5, 8192, Rule::ExtentOrder),
            (10, 5, 8193, Rule::ExtentPlace),
            (10, 5, 4096, Rule::ExtentPlace),
            (10, 5, 1 << 20, Rule::ExtentPlace),
            (10, 5, !4095, Rule::ExtentPlace),
            (10, 8192, !4095, Rule::ExtentPlace),
        ] {
            assert_eq!(check(at, length, place), Err(rule), "{at} {length} {place}");
        }
        assert_eq!(
            check(10, 99_990, 8192),
            Ok(Ends {
                file: 100_000,
                data: 108_182
            })
        );
    }
}
