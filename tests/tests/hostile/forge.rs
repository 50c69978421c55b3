//! Forged images: real ones, changed, with every length and checksum put right again.
//!
//! Kind: effect, on files of the test.

use anyhow::{Context as _, Result, ensure};
use crux_image::codec;
use crux_image::directory::ImageReader;
use crux_image::member::{HEADER_LENGTH, Header, MemberKind};
use crux_image::mounts::Mounts;
use std::fs;
use std::path::Path;

/// Changes the record of mounts.
pub(crate) fn mounts(images: &Path, change: impl FnOnce(&mut Mounts)) -> Result<()> {
    let mut mounts = ImageReader::open(images)?.mounts()?;
    change(&mut mounts);
    payload(images, |payload| *payload = codec::encode(&mounts))
}

/// Changes the encoded record of mounts.
pub(crate) fn payload(images: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let mut inventory = ImageReader::open(images)?.inventory().clone();
    let file = images.join(MemberKind::Mounts.file_name());
    let mut payload = fs::read(file)?.split_off(HEADER_LENGTH);
    change(&mut payload);
    let checksum = write(images, MemberKind::Mounts, &payload)?;
    let number = MemberKind::Mounts.number();
    let mut members = inventory.members.iter_mut();
    let entry = members
        .find(|entry| entry.kind == number)
        .context("no mounts")?;
    entry.length = (payload.len() + HEADER_LENGTH) as u64;
    entry.checksum = Some(checksum);
    write(images, MemberKind::Inventory, &codec::encode(&inventory)).map(drop)
}

/// Puts bytes of the same length in the place of others, wherever they are.
pub(crate) fn replace(images: &Path, from: &[u8], to: &[u8]) -> Result<()> {
    ensure!(from.len() == to.len());
    let mut count = 0;
    payload(images, |payload| {
        for at in 0..payload.len().saturating_sub(from.len()) {
            if payload[at..].starts_with(from) {
                payload[at..at + from.len()].copy_from_slice(to);
                count += 1;
            }
        }
    })?;
    ensure!(count > 0, "nothing to replace");
    Ok(())
}

fn write(images: &Path, kind: MemberKind, payload: &[u8]) -> Result<u32> {
    let checksum = crc32fast::hash(payload);
    let header = Header::new(kind, payload.len() as u64, checksum);
    let bytes = [&header.to_bytes()[..], payload].concat();
    fs::write(images.join(kind.file_name()), bytes)?;
    Ok(checksum)
}
