//! The files that random mounts show and are mounted on.
//!
//! Kind: pure; for tests only. Every file system has the same few, so that
//! mounts meet; what a name is does not differ within an image.

use crux_image::mounts::{FileKind, Origin};
use crux_image::path::RelPath;

const NULL: FileKind = FileKind::CharDevice { major: 1, minor: 3 };

const FILES: [(&[u8], FileKind); 11] = [
    (b"", FileKind::Directory),
    (b"a", FileKind::Directory),
    (b"a/b", FileKind::Directory),
    (b"a/b/c", FileKind::Directory),
    (b"d", FileKind::Directory),
    (b"file", FileKind::Regular),
    (b"a/null", NULL),
    (b"ab", FileKind::Directory),
    (b"a b\n\\", FileKind::Directory),
    (b"a/\xff", FileKind::Directory),
    (b"d/fifo", FileKind::Fifo),
];

/// Names that are mounted from and then unlinked. Nothing is mounted on them.
const GONE: [(&[u8], FileKind); 4] = [
    (b"gone", FileKind::Directory),
    (b"a/gone", FileKind::Directory),
    (b"gone-file", FileKind::Regular),
    (b"a/b/gone-file", FileKind::Regular),
];

/// The files of an origin; its root alone if that is no directory.
pub(super) fn of(origin: &Origin) -> Vec<(RelPath, FileKind)> {
    match origin {
        Origin::External(external) if !external.kind.is_directory() => {
            vec![(RelPath::root(), external.kind)]
        }
        Origin::External(_) | Origin::Own(_) => FILES.iter().map(named).collect(),
    }
}

/// The files that an origin had.
pub(super) fn gone() -> Vec<(RelPath, FileKind)> {
    GONE.iter().map(named).collect()
}

/// The name that a removed file had: none that is known, one that others have by now, or one in
/// directories that are gone too.
pub(super) fn former(name: &RelPath) -> Option<RelPath> {
    let former: &[u8] = match name.as_bytes() {
        b"a/gone" => b"d",
        b"gone-file" => b"file",
        b"a/b/gone-file" => b"a/null/gone/file",
        _ => return None,
    };
    RelPath::new(former).ok()
}

fn named((name, kind): &(&[u8], FileKind)) -> (RelPath, FileKind) {
    (
        RelPath::new(*name).expect("the names above are valid"),
        *kind,
    )
}
