//! Making an image.

use super::{vivid, write};
use crux_image::directory::{ImageReader, ImageWriter};
use crux_image::error::Problem;
use crux_image::member::MemberKind;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "image", &vivid::mounts());
    let reader = ImageReader::open(&path).unwrap();
    assert_eq!(reader.mounts().unwrap(), vivid::mounts());
    assert_eq!(reader.inventory().facts, vivid::facts());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert!(!dir.path().join("image.partial").exists());
}

#[test]
fn streams_and_raw_members_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut writer = ImageWriter::create(&path).unwrap();
    let mut sink = writer.stream(MemberKind::ContentsIndex).unwrap();
    sink.write_all(b"index").unwrap();
    assert_eq!(sink.position(), 5);
    sink.finish().unwrap();
    writer
        .raw(MemberKind::ContentsData)
        .unwrap()
        .write_all(b"data")
        .unwrap();
    writer.finish(vivid::facts()).unwrap();
    let reader = ImageReader::open(&path).unwrap();
    let (mut file, header) = reader.stream(MemberKind::ContentsIndex).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), header.length), ("index", 5));
    text.clear();
    reader
        .raw(MemberKind::ContentsData)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "data");
    assert!(matches!(
        reader.mounts().unwrap_err().problem,
        Problem::NotListed
    ));
}

#[test]
fn a_stream_without_its_end_is_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut writer = ImageWriter::create(&path).unwrap();
    drop(writer.stream(MemberKind::ContentsIndex).unwrap());
    let error = writer.finish(vivid::facts()).unwrap_err();
    assert!(matches!(error.problem, Problem::Unfinished), "{error}");
    assert_empty(dir.path());
}

#[test]
fn an_image_dropped_unfinished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ImageWriter::create(&dir.path().join("image")).unwrap();
    writer.write_mounts(&vivid::mounts()).unwrap();
    writer.raw(MemberKind::ContentsData).unwrap();
    drop(writer);
    assert_empty(dir.path());
}

#[test]
fn what_exists_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let create = |name| {
        ImageWriter::create(&dir.path().join(name))
            .unwrap_err()
            .problem
    };
    fs::create_dir(dir.path().join("there")).unwrap();
    assert!(matches!(create("there"), Problem::Exists));
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    assert!(matches!(create("link"), Problem::Exists));
    fs::create_dir(dir.path().join("killed.partial")).unwrap();
    assert!(matches!(create("killed"), Problem::PartialExists(_)));
    assert!(matches!(create("no/parent"), Problem::Call { .. }));
    assert!(matches!(create(".."), Problem::NoName));
}

#[test]
fn an_image_that_appears_meanwhile_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let writer = ImageWriter::create(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = writer.finish(vivid::facts()).unwrap_err();
    assert!(matches!(error.problem, Problem::Exists), "{error}");
    assert!(!dir.path().join("image.partial").exists());
}

#[test]
fn a_record_that_means_nothing_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut mounts = vivid::mounts();
    mounts.namespaces[0].mounts[3].parent = None;
    let mut writer = ImageWriter::create(&dir.path().join("image")).unwrap();
    let error = writer.write_mounts(&mounts).unwrap_err();
    assert!(matches!(error.problem, Problem::Mounts(_)), "{error}");
}

fn assert_empty(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

const FULL: &str = "CRUX_TEST_FULL_DISK";

/// Runs itself again in a namespace with a tmpfs of 64 KiB.
#[test]
fn userns_a_full_disk_is_said_in_words_and_leaves_nothing() {
    if let Some(dir) = std::env::var_os(FULL) {
        return on_a_full_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "writing::userns_a_full_disk_is_said_in_words_and_leaves_nothing";
    let script = "mount -t tmpfs -o size=64k none \"$1\" && exec \"$2\" --exact \"$3\"";
    let output = Command::new("timeout")
        .args([
            "60",
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-ec",
            script,
            "sh",
        ])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(FULL, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{output:?}"
    );
}

fn on_a_full_disk(dir: &Path) {
    let mut writer = ImageWriter::create(&dir.join("image")).unwrap();
    let error = writer
        .write_mounts(&super::scale::wide(10_000))
        .unwrap_err();
    assert!(
        error.to_string().contains("no space left on the disk"),
        "{error}"
    );
    drop(writer);
    assert_empty(dir);
}
