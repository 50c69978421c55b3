//! Extended attributes of an open file.
//!
//! Kind: effect.

use crux_mount::sys::SysError;
use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;
use std::fs::File;

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
const LARGEST: usize = 1 << 16;

/// A name and its value.
type Attribute = (Vec<u8>, Vec<u8>);

/// Names and values. Those in `trusted` are not seen; a file system need not have any.
pub(super) fn read(file: &File) -> Result<Vec<Attribute>, SysError> {
    let mut names = vec![0_u8; LARGEST];
    let length = match flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(SysError::new("flistxattr", errno)),
    };
    let names = names[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut bytes = vec![0_u8; LARGEST];
        let length = fgetxattr(file, name, &mut bytes[..]);
        let length = length.map_err(|errno| SysError::new("fgetxattr", errno))?;
        bytes.truncate(length);
        Ok((name.to_vec(), bytes))
    };
    names.map(value).collect()
}
