//! Mounts by unique id (statmount(2), listmount(2), Linux 6.8; with a namespace's id 6.11).
//!
//! Kind: effect. What the kernel wrote is read with bounds, as if it were not trusted.

use super::error::SysError;
use super::{MntIdReq, raw_listmount, raw_statmount};
use crate::ids::{Device, MountId, MountNsId, UniqueMountId};
use crux_image::mounts::IdRange;
use linux_raw_sys::general as kernel;
use rustix::io::Errno;
use std::mem::offset_of;

/// What to ask of statmount(2): `STATMOUNT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatMask(pub u64);

impl StatMask {
    /// Ids, attributes and propagation.
    pub const BASIC: Self = Self(kernel::STATMOUNT_MNT_BASIC as u64);
    /// Id, and root and mountpoint as seen from the namespace's root.
    pub const PATHS: Self = Self(
        (kernel::STATMOUNT_MNT_BASIC | kernel::STATMOUNT_MNT_ROOT | kernel::STATMOUNT_MNT_POINT)
            as u64,
    );
    /// The file system's device and type.
    pub const FILE_SYSTEM: Self =
        Self((kernel::STATMOUNT_SB_BASIC | kernel::STATMOUNT_FS_TYPE) as u64);
    /// The id-map (Linux 6.15).
    pub const IDMAP: Self =
        Self((kernel::STATMOUNT_MNT_UIDMAP | kernel::STATMOUNT_MNT_GIDMAP) as u64);
    /// Which of these the kernel knows at all (Linux 6.15).
    pub const SUPPORTED: Self = Self(kernel::STATMOUNT_SUPPORTED_MASK as u64);

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What statmount(2) answered. A field that was not asked for, or that the kernel
/// does not know, is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatMount {
    /// The id in mountinfo.
    pub old_id: Option<MountId>,
    /// The parent's id in mountinfo; its own at the top.
    pub old_parent: Option<MountId>,
    /// The unique id.
    pub id: Option<UniqueMountId>,
    /// The parent's unique id; its own at the top.
    pub parent: Option<UniqueMountId>,
    /// `MOUNT_ATTR_*`
    pub attributes: Option<u64>,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`
    pub propagation: Option<u64>,
    /// The root within the file system, without escapes.
    pub root: Option<Vec<u8>>,
    /// The mountpoint as the caller's root sees it; `None` if it cannot.
    pub mountpoint: Option<Vec<u8>>,
    /// The file system's device.
    pub device: Option<Device>,
    /// The file system's type.
    pub fs_type: Option<Vec<u8>>,
    /// The user id map.
    pub uids: Option<Vec<IdRange>>,
    /// The group id map.
    pub gids: Option<Vec<IdRange>>,
    /// All that the kernel can answer.
    pub supported: Option<StatMask>,
}

const FIXED: usize = size_of::<kernel::statmount>();
const FIRST_BUFFER: usize = 4096;
const LARGEST_BUFFER: usize = 8 << 20;
/// Ids of one listmount(2) call; the kernel takes a buffer of any size up to a million.
const LIST_BUFFER: usize = 16 * 1024;
const LARGEST_LIST: usize = 4 << 20;
const LSMT_ROOT: u64 = u64::MAX;

/// Asks about one mount of a namespace (`None`: the caller's). One call, and one more
/// each time that the answer does not fit.
pub fn stat_mount(
    mount: UniqueMountId,
    namespace: Option<MountNsId>,
    mask: StatMask,
) -> Result<StatMount, SysError> {
    let request = request(mount.0, namespace, mask.0);
    let mut buffer = vec![0; FIRST_BUFFER];
    loop {
        match raw_statmount(&request, &mut buffer) {
            Ok(()) => return Ok(decode(&buffer)),
            Err(Errno::OVERFLOW) if buffer.len() < LARGEST_BUFFER => {
                let larger = buffer.len() * 4;
                buffer.resize(larger, 0);
            }
            Err(errno) => {
                let call = format!("statmount({})", shown(&request));
                return Err(SysError::new(call, errno));
            }
        }
    }
}

/// The unique ids of all mounts of a namespace (`None`: the caller's), those that cannot be reached by a
/// path included, parents before children. One call for each 16,384 mounts.
pub fn list_mounts(namespace: Option<MountNsId>) -> Result<Vec<UniqueMountId>, SysError> {
    let mut ids = Vec::new();
    let mut buffer = vec![0; LIST_BUFFER];
    let mut last = 0;
    loop {
        let request = request(LSMT_ROOT, namespace, last);
        let count = raw_listmount(&request, &mut buffer)
            .map_err(|errno| SysError::new(format!("listmount({})", shown(&request)), errno))?;
        ids.extend(buffer[..count].iter().copied().map(UniqueMountId));
        if count < buffer.len() {
            return Ok(ids);
        }
        if ids.len() > LARGEST_LIST {
            return Err(SysError::new(
                format!("listmount({})", shown(&request)),
                Errno::OVERFLOW,
            ));
        }
        last = buffer[count - 1];
    }
}

fn request(mnt_id: u64, namespace: Option<MountNsId>, param: u64) -> MntIdReq {
    MntIdReq {
        size: size_of::<MntIdReq>() as u32,
        spare: 0,
        mnt_id,
        param,
        mnt_ns_id: namespace.map_or(0, |id| id.0),
    }
}

fn shown(request: &MntIdReq) -> String {
    format!(
        "{{mnt_id={:#x}, param={:#x}, mnt_ns_id={:#x}}}",
        request.mnt_id, request.param, request.mnt_ns_id
    )
}

macro_rules! field {
    ($answer:expr, $bit:ident, u32 $name:ident) => {
        $answer.has(kernel::$bit).then(|| $answer.u32(offset_of!(kernel::statmount, $name))).flatten()
    };
    ($answer:expr, $bit:ident, u64 $name:ident) => {
        $answer.has(kernel::$bit).then(|| $answer.u64(offset_of!(kernel::statmount, $name))).flatten()
    };
    ($answer:expr, $bit:ident, string $name:ident) => {
        field!($answer, $bit, u32 $name).and_then(|at| $answer.string(at)).map(<[u8]>::to_vec)
    };
    ($answer:expr, $bit:ident, map $count:ident $name:ident) => {
        field!($answer, $bit, u32 $count)
            .and_then(|count| $answer.map(count, field!($answer, $bit, u32 $name)?))
    };
}

fn decode(buffer: &[u8]) -> StatMount {
    let answer = Answer(buffer);
    let major = field!(answer, STATMOUNT_SB_BASIC, u32 sb_dev_major);
    let minor = field!(answer, STATMOUNT_SB_BASIC, u32 sb_dev_minor);
    StatMount {
        old_id: field!(answer, STATMOUNT_MNT_BASIC, u32 mnt_id_old).map(MountId),
        old_parent: field!(answer, STATMOUNT_MNT_BASIC, u32 mnt_parent_id_old).map(MountId),
        id: field!(answer, STATMOUNT_MNT_BASIC, u64 mnt_id).map(UniqueMountId),
        parent: field!(answer, STATMOUNT_MNT_BASIC, u64 mnt_parent_id).map(UniqueMountId),
        attributes: field!(answer, STATMOUNT_MNT_BASIC, u64 mnt_attr),
        propagation: field!(answer, STATMOUNT_MNT_BASIC, u64 mnt_propagation),
        root: field!(answer, STATMOUNT_MNT_ROOT, string mnt_root),
        mountpoint: field!(answer, STATMOUNT_MNT_POINT, string mnt_point),
        device: major
            .zip(minor)
            .map(|(major, minor)| Device { major, minor }),
        fs_type: field!(answer, STATMOUNT_FS_TYPE, string fs_type),
        uids: field!(answer, STATMOUNT_MNT_UIDMAP, map mnt_uidmap_num mnt_uidmap),
        gids: field!(answer, STATMOUNT_MNT_GIDMAP, map mnt_gidmap_num mnt_gidmap),
        supported: field!(answer, STATMOUNT_SUPPORTED_MASK, u64 supported_mask).map(StatMask),
    }
}

/// A `struct statmount` and the strings behind it.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn has(&self, bit: u32) -> bool {
        self.u64(offset_of!(kernel::statmount, mask))
            .is_some_and(|mask| mask & u64::from(bit) != 0)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    /// The bytes from `at` in the string area up to a NUL.
    fn string(&self, at: u32) -> Option<&'a [u8]> {
        let bytes = self.0.get(FIXED + at as usize..)?;
        let end = bytes.iter().position(|&b| b == 0)?;
        Some(&bytes[..end])
    }

    /// `count` strings one after another, each `inside outside count` as in a `uid_map`.
    fn map(&self, count: u32, at: u32) -> Option<Vec<IdRange>> {
        let mut at = at;
        let mut ranges = Vec::new();
        for _ in 0..count {
            let line = self.string(at)?;
            at = at
                .checked_add(u32::try_from(line.len()).ok()?)?
                .checked_add(1)?;
            ranges.push(id_range(line)?);
        }
        Some(ranges)
    }
}

fn id_range(line: &[u8]) -> Option<IdRange> {
    let mut numbers = std::str::from_utf8(line)
        .ok()?
        .split_ascii_whitespace()
        .map(str::parse);
    let (inside, outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some(IdRange {
        inside: inside.ok()?,
        outside: outside.ok()?,
        count: count.ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_part_has_the_size_of_the_kernels() {
        assert_eq!(FIXED, 512);
        assert_eq!(offset_of!(kernel::statmount, mnt_id), 40);
        assert_eq!(offset_of!(kernel::statmount, mnt_gidmap), 164);
    }

    #[test]
    fn an_answer_that_points_outside_itself_gives_nothing() {
        let mut buffer = vec![0xff; FIXED + 8];
        let stat = decode(&buffer);
        assert_eq!((stat.root, stat.uids), (None, None));
        buffer.truncate(20);
        assert_eq!(decode(&buffer).id, None);
        assert_eq!(decode(&[]), StatMount::default());
    }

    #[test]
    fn map_lines_are_read() {
        let range = IdRange {
            inside: 0,
            outside: 100000,
            count: 65536,
        };
        assert_eq!(id_range(b"0 100000 65536"), Some(range));
        assert_eq!(id_range(b"0 100000"), None);
        assert_eq!(id_range(b"0 100000 4294967296"), None);
    }
}
