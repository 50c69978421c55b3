//! What is done with hostile bytes, for each reader of them: it never panics, and what was
//! understood is what was written.
//!
//! Kind: pure, but for the planner's image, which is in memfds. Each function is a fuzz target
//! (fuzz_targets/), and is run without a fuzzer by tests/tests/fuzz.rs.

use crux_image::codec;
use crux_image::contents::{ContentsReader, Section};
use crux_image::diff::diff;
use crux_image::directory::Members;
use crux_image::inventory::{ImageFacts, ImageId, Inventory, MemberEntry};
use crux_image::member::{HEADER_LENGTH, Header, MemberKind};
use crux_image::mounts::Mounts;
use crux_image::render;
use crux_image::tasks::Tasks;
use crux_mount::mountinfo;
use crux_restore::cli::Options;
use crux_restore::roles::plan_here;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{Cursor, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What is done with bytes.
#[allow(dead_code)]
pub(crate) type Reader = fn(&[u8]);

/// All of them, by name.
#[allow(dead_code)]
pub(crate) const TARGETS: [(&str, Reader); 8] = [
    ("member", member),
    ("inventory", inventory),
    ("mounts", mounts),
    ("tasks", tasks),
    ("contents", contents),
    ("mountinfo", mountinfo),
    ("planner", planner),
    ("compiler", compiler),
];

/// The header of a member: what parses is what was written.
pub(crate) fn member(bytes: &[u8]) {
    let Some(header) = bytes.first_chunk::<HEADER_LENGTH>() else {
        return;
    };
    for kind in MemberKind::ALL {
        if let Ok(parsed) = Header::parse(header, kind) {
            assert_eq!(parsed.to_bytes(), *header);
        }
    }
}

/// The inventory of an image.
pub(crate) fn inventory(bytes: &[u8]) {
    let decoded = codec::decode::<Inventory>(bytes, MemberKind::Inventory.limit());
    let Ok(inventory) = decoded else { return };
    assert_eq!(codec::encode(&inventory), bytes);
    if inventory.check().is_ok() {
        render::inventory_record(&inventory);
    }
}

/// The record of mounts: one that passes its check can be shown and compared.
pub(crate) fn mounts(bytes: &[u8]) {
    let Ok(mounts) = codec::decode::<Mounts>(bytes, 1 << 20) else {
        return;
    };
    assert_eq!(codec::encode(&mounts), bytes);
    if mounts.check().is_ok() {
        render::tree(&mounts);
        render::svg(&mounts);
        render::dot(&mounts);
        render::mounts_record(&mounts);
        assert!(diff(&mounts, &mounts).is_empty());
    }
}

const VIVID: &[u8] = include_bytes!("../crux-image/tests/golden/v2/vivid/mounts.crux");

/// The record of tasks, of a container with these mounts.
pub(crate) fn tasks(bytes: &[u8]) {
    let Ok(tasks) = codec::decode::<Tasks>(bytes, 1 << 20) else {
        return;
    };
    assert_eq!(codec::encode(&tasks), bytes);
    if let Ok(mounts) = codec::decode::<Mounts>(&VIVID[HEADER_LENGTH..], 1 << 20) {
        let _ = tasks.check(&mounts);
    }
}

/// The contents index: its bytes are frames, each after its length in two bytes, that are
/// put in order with the right checksums.
pub(crate) fn contents(bytes: &[u8]) {
    let index = index(bytes);
    let section = whole(&index, u64::from(bytes.first().copied().unwrap_or(0)));
    let data = vec![0; DATA];
    let Ok(mut reader) = ContentsReader::new(Cursor::new(index), Cursor::new(data)) else {
        panic!("the header is right");
    };
    let _ = reader.verify(section);
    if let Ok(mut tree) = reader.section(section) {
        // An error ends the iterator.
        assert!(tree.by_ref().take(1 << 16).count() < 1 << 16);
    }
}

/// /proc/PID/mountinfo: what is understood can be written and understood again.
pub(crate) fn mountinfo(bytes: &[u8]) {
    let Ok(entries) = mountinfo::parse(bytes) else {
        return;
    };
    let written = mountinfo::format(&entries);
    assert_eq!(mountinfo::parse(&written).ok(), Some(entries));
}

/// The planner's whole job on an image: see [`image`].
pub(crate) fn planner(bytes: &[u8]) {
    let _ = plan_here(&Options::for_image(Path::new("image")), image(bytes));
}

/// The same with tasks, whose record this is, in a container with these mounts.
pub(crate) fn compiler(bytes: &[u8]) {
    let _ = plan_here(&Options::for_tasks(Path::new("image")), tasks_image(bytes));
}

/// Bytes of data that the contents index can speak of.
const DATA: usize = 64 << 10;
/// Bytes before the first frame.
const INDEX_HEADER: usize = 32;

/// All of an index as one tree.
fn whole(index: &[u8], entries: u64) -> Section {
    Section {
        offset: INDEX_HEADER as u64,
        length: (index.len() - INDEX_HEADER) as u64,
        entries,
    }
}

/// An index of these frames (docs/format-contents.md).
pub(crate) fn index(mut bytes: &[u8]) -> Vec<u8> {
    let mut index = vec![0; INDEX_HEADER];
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        let offset = index.len() as u64;
        let sum = checksum(&[&offset.to_le_bytes(), frame]);
        index.extend((frame.len() as u32).to_le_bytes());
        index.extend(sum.to_le_bytes());
        index.extend(frame);
        bytes = rest;
    }
    let mut header = b"CRUXINDX\x01\0\0\0".to_vec();
    header.extend((index.len() as u64).to_le_bytes());
    header.extend((DATA as u64).to_le_bytes());
    header.extend(checksum(&[&header]).to_le_bytes());
    index[..INDEX_HEADER].copy_from_slice(&header);
    index
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// An image whose lengths and checksums are right, from the frames of its contents, after their
/// length in two bytes, and the record of mounts.
pub(crate) fn image(bytes: &[u8]) -> Members {
    let (length, rest) = bytes.split_first_chunk::<2>().unwrap_or((&[0; 2], bytes));
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (frames, mounts) = rest.split_at(length);
    whole_image(vec![
        record(MemberKind::Mounts, mounts),
        (MemberKind::ContentsIndex, None, index(frames)),
        (MemberKind::ContentsData, None, vec![0; DATA]),
    ])
}

/// The same with a record of tasks, and pages.
pub(crate) fn tasks_image(tasks: &[u8]) -> Members {
    whole_image(vec![
        record(MemberKind::Mounts, &VIVID[HEADER_LENGTH..]),
        record(MemberKind::Tasks, tasks),
        (MemberKind::Pages, None, vec![0; DATA]),
    ])
}

/// A member: its kind, its checksum if it has one, and its bytes.
type Member = (MemberKind, Option<u32>, Vec<u8>);

fn record(kind: MemberKind, bytes: &[u8]) -> Member {
    let sum = checksum(&[bytes]);
    let header = Header::new(kind, bytes.len() as u64, sum);
    let whole = [&header.to_bytes()[..], bytes].concat();
    (kind, Some(sum), whole)
}

/// An image of these members and an inventory that fits.
fn whole_image(files: Vec<Member>) -> Members {
    let members = files.iter().map(|(kind, checksum, bytes)| MemberEntry {
        kind: kind.number(),
        length: bytes.len() as u64,
        checksum: *checksum,
    });
    let inventory = codec::encode(&Inventory {
        facts: facts(),
        members: members.collect(),
    });
    let (kind, _, first) = record(MemberKind::Inventory, &inventory);
    let files = files.into_iter().map(|(kind, _, bytes)| (kind, bytes));
    let all = std::iter::once((kind, first)).chain(files);
    Members::from_files(all.map(|(kind, bytes)| (kind, file(&bytes))))
}

fn facts() -> ImageFacts {
    ImageFacts {
        id: ImageId([7; 16]),
        crux_version: "0".into(),
        kernel_release: "6.1".into(),
        architecture: "x86_64".into(),
        created: 0,
        pid: 1,
        command: Vec::new(),
    }
}

fn file(bytes: &[u8]) -> OwnedFd {
    let made = memfd_create("member", MemfdFlags::CLOEXEC);
    let mut file = File::from(made.expect("memfd_create(2) is there"));
    file.write_all(bytes).expect("there is memory");
    file.into()
}
