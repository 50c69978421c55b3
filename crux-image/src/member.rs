//! The files of an image and the header that each begins with.
//!
//! Kind: pure. Opening them is the business of `directory`. The layout is in
//! `docs/format.md`, byte for byte; the first 32 bytes never change their meaning.

/// The first eight bytes of every member with a header.
pub const MAGIC: [u8; 8] = *b"CRUXIMG\n";
/// How long the header is, in bytes.
pub const HEADER_LENGTH: usize = 32;
const CHECKED: usize = HEADER_LENGTH - 4;

/// What a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKind {
    /// Who wrote the image, when, and its list of members. Written last.
    Inventory,
    /// [`crate::mounts::Mounts`].
    Mounts,
    /// What is in file systems in memory: names and attributes of files.
    ContentsIndex,
    /// The data of those files: raw, page-aligned, without a header.
    ContentsData,
    /// [`crate::tasks::Tasks`].
    Tasks,
    /// Pages of memory: raw, page-aligned, without a header.
    Pages,
}

/// How a member is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A header and one record, which is read whole.
    Record,
    /// No header: bytes at the offsets that an index names.
    Raw,
}

impl MemberKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Inventory,
        Self::Mounts,
        Self::ContentsIndex,
        Self::ContentsData,
        Self::Tasks,
        Self::Pages,
    ];

    /// The number in headers and in the inventory.
    pub fn number(self) -> u32 {
        match self {
            Self::Inventory => 1,
            Self::Mounts => 2,
            Self::ContentsIndex => 3,
            Self::ContentsData => 4,
            Self::Tasks => 5,
            Self::Pages => 6,
        }
    }

    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The name of the file.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory.crux",
            Self::Mounts => "mounts.crux",
            Self::ContentsIndex => "contents.crux",
            Self::ContentsData => "contents.raw",
            Self::Tasks => "tasks.crux",
            Self::Pages => "pages.raw",
        }
    }

    /// The format version that this crux writes, and the newest it reads.
    pub fn version(self) -> u32 {
        match self {
            Self::Mounts => 2,
            Self::Tasks => 4,
            _ => 1,
        }
    }

    /// How it is laid out.
    pub fn layout(self) -> Layout {
        match self {
            Self::Inventory | Self::Mounts | Self::Tasks => Layout::Record,
            // The index has a header of its own, which its writer completes last.
            Self::ContentsIndex | Self::ContentsData | Self::Pages => Layout::Raw,
        }
    }

    /// How many bytes the payload may have. A record is read whole, so this bounds memory.
    pub fn limit(self) -> u64 {
        match self {
            Self::Inventory => 1 << 20,
            Self::Mounts => 128 << 20,
            Self::ContentsIndex => 1 << 40,
            Self::ContentsData | Self::Pages => i64::MAX as u64,
            Self::Tasks => 256 << 20,
        }
    }
}

/// What the header of a member says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it holds.
    pub kind: MemberKind,
    /// In which version of its format: at least 1, at most [`MemberKind::version`].
    pub version: u32,
    /// How many bytes follow the header.
    pub length: u64,
    /// CRC-32 (IEEE) of those bytes.
    pub checksum: u32,
}

/// Why the first bytes of a file are not the header that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is shorter than a header.
    #[error("is too short for a member of an image ({0} bytes): truncated")]
    Short(u64),
    /// It begins with other bytes.
    #[error("does not begin like a member of a crux image")]
    Magic,
    /// The header's own checksum does not match.
    #[error("the header is damaged: its checksum does not match")]
    Damaged,
    /// It is a member of another kind, or of one from the future.
    #[error("holds data of kind {found} where kind {expected} belongs")]
    Kind {
        /// What the header says.
        found: u32,
        /// What the name of the file means.
        expected: u32,
    },
    /// The format is newer than this program.
    #[error(
        "has format version {found} and this crux reads versions up to {newest}: \
         use a crux that reads version {found}"
    )]
    Newer {
        /// What the header says.
        found: u32,
        /// What this program reads.
        newest: u32,
    },
    /// There never was a version 0.
    #[error("has format version 0, which does not exist")]
    VersionZero,
    /// The payload is longer than any member of this kind may be.
    #[error("claims {length} bytes, where {limit} are the limit")]
    TooLong {
        /// What the header says.
        length: u64,
        /// The most there may be.
        limit: u64,
    },
}

impl Header {
    /// The header of a payload in the version that this crux writes.
    pub fn new(kind: MemberKind, length: u64, checksum: u32) -> Self {
        Self {
            kind,
            version: kind.version(),
            length,
            checksum,
        }
    }

    /// As it stands in the file.
    pub fn to_bytes(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.kind.number().to_le_bytes());
        bytes[12..16].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.checksum.to_le_bytes());
        let own = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads the header of a member that should be of `kind`.
    pub fn parse(bytes: &[u8; HEADER_LENGTH], kind: MemberKind) -> Result<Self, HeaderError> {
        if bytes[0..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        if crc32fast::hash(&bytes[..CHECKED]) != u32_at(bytes, CHECKED) {
            return Err(HeaderError::Damaged);
        }
        let (found, version) = (u32_at(bytes, 8), u32_at(bytes, 12));
        let length = u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32;
        if found != kind.number() {
            return Err(HeaderError::Kind {
                found,
                expected: kind.number(),
            });
        }
        match version {
            0 => return Err(HeaderError::VersionZero),
            v if v > kind.version() => {
                return Err(HeaderError::Newer {
                    found: v,
                    newest: kind.version(),
                });
            }
            _ => {}
        }
        if length > kind.limit() {
            return Err(HeaderError::TooLong {
                length,
                limit: kind.limit(),
            });
        }
        Ok(Self {
            kind,
            version,
            length,
            checksum: u32_at(bytes, 24),
        })
    }
}

fn u32_at(bytes: &[u8; HEADER_LENGTH], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged(change: impl Fn(&mut [u8; HEADER_LENGTH])) -> [u8; HEADER_LENGTH] {
        let mut bytes = Header::new(MemberKind::Mounts, 5, 7).to_bytes();
        change(&mut bytes);
        let own = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        let header = Header::new(MemberKind::Mounts, 1 << 20, 0xdead_beef);
        assert_eq!(
            Header::parse(&header.to_bytes(), MemberKind::Mounts),
            Ok(header)
        );
    }

    #[test]
    fn a_newer_version_is_refused_with_the_version_needed() {
        let bytes = forged(|b| b[12] = 9);
        let error = Header::parse(&bytes, MemberKind::Mounts).unwrap_err();
        assert_eq!(
            error,
            HeaderError::Newer {
                found: 9,
                newest: MemberKind::Mounts.version()
            }
        );
        assert!(
            error
                .to_string()
                .contains("use a crux that reads version 9")
        );
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let good = Header::new(MemberKind::Mounts, 5, 7).to_bytes();
        for bit in 0..HEADER_LENGTH * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Header::parse(&bytes, MemberKind::Mounts).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn wrong_kinds_and_lengths_are_refused() {
        let parse = |bytes| Header::parse(&bytes, MemberKind::Mounts).unwrap_err();
        assert!(matches!(
            parse(forged(|b| b[8] = 1)),
            HeaderError::Kind { found: 1, .. }
        ));
        assert!(matches!(
            parse(forged(|b| b[23] = 1)),
            HeaderError::TooLong { .. }
        ));
        assert_eq!(parse(forged(|b| b[12] = 0)), HeaderError::VersionZero);
    }

    #[test]
    fn kinds_have_numbers_and_names_of_their_own() {
        for kind in MemberKind::ALL {
            assert_eq!(MemberKind::from_number(kind.number()), Some(kind));
            let same = MemberKind::ALL
                .iter()
                .filter(|k| k.file_name() == kind.file_name());
            assert_eq!(same.count(), 1);
        }
    }
}
