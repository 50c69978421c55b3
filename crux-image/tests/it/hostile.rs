//! Images that someone made to harm whoever reads them.

use super::{vivid, write};
use crux_image::directory::ImageReader;
use crux_image::error::Problem;
use crux_image::member::{HEADER_LENGTH, Header, HeaderError, MemberKind};
use rustix::fs::{CWD, FileType, Mode};
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

const MOUNTS: &str = "mounts.crux";
const INVENTORY: &str = "inventory.crux";

fn image() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "image", &vivid::mounts());
    (dir, path)
}

fn problem(path: &Path) -> Problem {
    match ImageReader::open(path) {
        Err(error) => error.problem,
        Ok(reader) => reader.mounts().unwrap_err().problem,
    }
}

/// Puts something else in the place of each record and expects to read `word`.
fn refused(make: impl Fn(&Path), word: &str) {
    for member in [MOUNTS, INVENTORY] {
        let (_dir, image) = image();
        let path = image.join(member);
        fs::rename(&path, image.join("moved")).unwrap();
        make(&path);
        let problem = problem(&image);
        assert!(matches!(problem, Problem::NotRegular(_)), "{problem}");
        assert!(problem.to_string().contains(word), "{problem}");
    }
}

#[test]
fn a_member_that_is_a_symbolic_link_is_refused() {
    refused(
        |path| std::os::unix::fs::symlink("moved", path).unwrap(),
        "symbolic link",
    );
    refused(
        |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
        "symbolic link",
    );
}

#[test]
fn a_member_that_is_a_fifo_is_refused_without_waiting_for_a_writer() {
    let make = |path: &Path| {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    };
    refused(make, "fifo");
}

#[test]
fn a_member_that_is_a_directory_is_refused() {
    refused(|path| fs::create_dir(path).unwrap(), "directory");
}

#[test]
fn a_member_that_is_a_socket_is_refused() {
    refused(|path| drop(UnixListener::bind(path).unwrap()), "socket");
}

#[test]
fn root_a_member_that_is_a_device_is_refused() {
    let make = |path: &Path| {
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, null).unwrap();
    };
    refused(make, "character device");
}

#[test]
fn what_is_no_image_is_said() {
    let (dir, image) = image();
    assert!(matches!(
        problem(&dir.path().join("nothing")),
        Problem::Missing
    ));
    assert!(matches!(
        problem(&image.join(MOUNTS)),
        Problem::NotADirectory
    ));
    assert!(matches!(problem(dir.path()), Problem::MissingMember { .. }));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("image", &link).unwrap();
    assert!(
        ImageReader::open(&link).is_ok(),
        "a link that the operator names is followed"
    );
}

#[test]
fn every_truncation_is_refused() {
    let (_dir, image) = image();
    for member in [MOUNTS, INVENTORY] {
        let whole = fs::read(image.join(member)).unwrap();
        for length in 0..whole.len() {
            fs::write(image.join(member), &whole[..length]).unwrap();
            let problem = problem(&image);
            let expected = matches!(
                problem,
                Problem::Length { .. } | Problem::Header(HeaderError::Short(_))
            );
            assert!(expected, "{length}: {problem}");
        }
        fs::write(image.join(member), [&whole[..], b"x"].concat()).unwrap();
        assert!(matches!(problem(&image), Problem::Length { .. }));
        fs::write(image.join(member), whole).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_any_byte_is_refused() {
    let (_dir, image) = image();
    for member in [MOUNTS, INVENTORY] {
        let whole = fs::read(image.join(member)).unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(image.join(member))
            .unwrap();
        for (at, byte) in whole.iter().enumerate() {
            file.write_all_at(&[byte ^ (1 << (at % 8))], at as u64)
                .unwrap();
            problem(&image);
            file.write_all_at(&[*byte], at as u64).unwrap();
        }
        assert!(ImageReader::open(&image).unwrap().mounts().is_ok());
    }
}

#[test]
fn a_header_of_the_future_is_refused_with_the_version_needed() {
    let (_dir, image) = image();
    let path = image.join(INVENTORY);
    let mut bytes = fs::read(&path).unwrap();
    let mut header: [u8; HEADER_LENGTH] = bytes[..HEADER_LENGTH].try_into().unwrap();
    header[12] = 2;
    let own = crc32fast::hash(&header[..28]);
    header[28..].copy_from_slice(&own.to_le_bytes());
    bytes[..HEADER_LENGTH].copy_from_slice(&header);
    fs::write(&path, bytes).unwrap();
    assert!(
        problem(&image)
            .to_string()
            .contains("use a crux that reads version 2")
    );
}

/// A member from another image, whole in itself, is not the one that was listed.
#[test]
fn a_member_of_another_image_is_refused() {
    let (dir, image) = image();
    let mut other = vivid::mounts();
    other.namespaces[0].mounts[1].attributes.readonly = true;
    let other = write(dir.path(), "other", &other);
    fs::copy(other.join(MOUNTS), image.join(MOUNTS)).unwrap();
    assert!(matches!(problem(&image), Problem::Checksum { .. }));
}

/// The counts in a record are claims.
#[test]
fn a_record_that_claims_endless_lists_is_refused() {
    let (_dir, image) = image();
    let payload = [0xff; 64];
    let header = Header::new(MemberKind::Inventory, 64, crc32fast::hash(&payload));
    fs::write(
        image.join(INVENTORY),
        [&header.to_bytes()[..], &payload].concat(),
    )
    .unwrap();
    assert!(matches!(problem(&image), Problem::Codec(_)));
}
