//! Extended attributes, raw.
//!
//! Kind: effect.

use crux_image::contents::{BytesError, Xattr, XattrName, XattrValue};
use rustix::fs::{
    fgetxattr, flistxattr, flistxattr_query, getxattr, lgetxattr, listxattr, listxattr_query,
    llistxattr, llistxattr_query,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;

/// The kernel's limit, of the list of names and of a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const LIMIT: usize = 64 << 10;

/// How a file whose attributes are read is named.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// It is open.
    Open(BorrowedFd<'a>),
    /// A name in the working directory, symlinks not followed.
    Named(&'a CStr),
    /// A name in /proc/self/fd, which is the working directory.
    Descriptor(&'a CStr),
}

/// Why attributes could not be read: the call, and the cause.
#[derive(Debug)]
pub(super) enum XattrError {
    Call(String, Errno),
    Bytes(BytesError),
}

/// Reads attributes into buffers of its own, which it has once a file has any.
#[derive(Debug, Default)]
pub(super) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl XattrReader {
    /// Gives each attribute to `sink`. A file system without any has none.
    pub(super) fn read<E: From<XattrError>>(
        &mut self,
        of: Subject<'_>,
        mut sink: impl FnMut(Xattr) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |errno| XattrError::Call(format!("listxattr({LIMIT})"), errno);
        // Most files have none, which shows without a buffer.
        match list_length(of) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(failed(errno).into()),
        }
        self.names.resize(LIMIT, 0);
        self.value.resize(LIMIT, 0);
        let length = list(of, &mut self.names).map_err(failed)?;
        for name in self.names[..length].split_inclusive(|&b| b == 0) {
            let name = &name[..name.len() - 1];
            let count = get(of, name, &mut self.value).map_err(|errno| {
                XattrError::Call(format!("getxattr(\"{}\")", name.escape_ascii()), errno)
            })?;
            sink(xattr(name, &self.value[..count]).map_err(XattrError::Bytes)?)?;
        }
        Ok(())
    }
}

fn xattr(name: &[u8], value: &[u8]) -> Result<Xattr, BytesError> {
    Ok(Xattr {
        name: XattrName::new(name)?,
        value: XattrValue::new(value)?,
    })
}

fn list_length(of: Subject<'_>) -> Result<usize, Errno> {
    match of {
        Subject::Open(fd) => flistxattr_query(fd),
        Subject::Named(name) => llistxattr_query(name),
        Subject::Descriptor(name) => listxattr_query(name),
    }
}

fn list(of: Subject<'_>, names: &mut [u8]) -> Result<usize, Errno> {
    match of {
        Subject::Open(fd) => flistxattr(fd, names),
        Subject::Named(name) => llistxattr(name, names),
        Subject::Descriptor(name) => listxattr(name, names),
    }
}

fn get(of: Subject<'_>, attribute: &[u8], value: &mut [u8]) -> Result<usize, Errno> {
    match of {
        Subject::Open(fd) => fgetxattr(fd, attribute, value),
        Subject::Named(name) => lgetxattr(name, attribute, value),
        Subject::Descriptor(name) => getxattr(name, attribute, value),
    }
}
