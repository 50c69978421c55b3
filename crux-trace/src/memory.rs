//! The memory of another task.
//!
//! Kind: effect. process_vm_readv(2) does not get at `PROT_NONE` pages, and writes nothing that
//! the task could not write; `/proc/PID/mem` does both.

use crate::error::named;
use crate::stop::Tid;
use crate::{TraceError, sys};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread, pwrite};

/// Reads all of `bytes` from the memory of a task (process_vm_readv(2)).
///
/// # Errors
///
/// `EFAULT` if not all of it is there and readable.
pub fn read_memory(tid: Tid, address: u64, bytes: &mut [u8]) -> Result<(), TraceError> {
    let count = bytes.len();
    named(whole(sys::vm_read(tid.0, address, bytes), count), || {
        format!("process_vm_readv({tid}, {address:#x}, {count})")
    })
}

/// Writes all of `bytes` to the memory of a task (process_vm_writev(2)).
///
/// # Errors
///
/// `EFAULT` if not all of it is there and writable.
pub fn write_memory(tid: Tid, address: u64, bytes: &[u8]) -> Result<(), TraceError> {
    let count = bytes.len();
    named(whole(sys::vm_write(tid.0, address, bytes), count), || {
        format!("process_vm_writev({tid}, {address:#x}, {count})")
    })
}

fn whole(done: Result<usize, Errno>, count: usize) -> Result<(), Errno> {
    match done? {
        done if done == count => Ok(()),
        _ => Err(Errno::FAULT),
    }
}

/// `/proc/PID/mem`, which stays that of the program that the task was when it was opened.
#[derive(Debug)]
pub struct Memory {
    file: OwnedFd,
}

impl Memory {
    /// Of the task whose directory in /proc this is.
    pub fn open(directory: impl AsFd) -> Result<Self, TraceError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = named(openat(directory, "mem", flags, Mode::empty()), || {
            "openat(/proc/PID, \"mem\", O_RDWR)".to_owned()
        })?;
        Ok(Self { file })
    }

    /// Reads all of `bytes`, whatever the protection of the pages.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), TraceError> {
        let count = bytes.len();
        named(whole(pread(&self.file, bytes, address), count), || {
            format!("pread(/proc/PID/mem, {count}, {address:#x})")
        })
    }

    /// Writes all of `bytes`, whatever the protection of the pages. Of a private mapping
    /// that cannot be written the task gets a copy.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), TraceError> {
        let count = bytes.len();
        named(whole(pwrite(&self.file, bytes, address), count), || {
            format!("pwrite(/proc/PID/mem, {count}, {address:#x})")
        })
    }
}
