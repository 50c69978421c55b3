//! The caller's own mount table and limits.
//!
//! Kind: effect.

use crate::failure::{Exit, Failure, OrExit};
use crux_mount::mountinfo::{self, Entry};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::Read as _;

/// The table of the mount namespace that crux-restore runs in.
pub(crate) fn table() -> Result<Vec<Entry>, Failure> {
    let path = "/proc/self/mountinfo";
    let fail = |call: &'static str| {
        move |error| Failure::new(Exit::Lacking, format_args!("{call} {path}: {error}"))
    };
    let mut text = Vec::new();
    let mut file = File::open(path).map_err(fail("open"))?;
    file.read_to_end(&mut text).map_err(fail("read"))?;
    mountinfo::parse(&text).or_exit(Exit::Lacking)
}

/// A restore leaves the caller's table as it was.
pub(crate) fn unchanged(before: &[Entry]) -> Result<(), Failure> {
    // Something was done by now, and is undone with the builder's end.
    let after = table().or_exit(Exit::Undone)?;
    let changed = |entry: &&Entry| !before.contains(entry);
    if after == before {
        return Ok(());
    }
    let news: Vec<_> = after.iter().filter(changed).collect();
    let gone = before.iter().filter(|entry| !after.contains(entry)).count();
    let shown: Vec<_> = news
        .iter()
        .map(|entry| crux_image::path::Escaped(&entry.mountpoint).to_string())
        .collect();
    Err(Failure::new(
        Exit::Uncertain,
        format_args!(
            "leave the host's mounts alone: its table changed during the restore \
             ({gone} mounts gone or changed; new or changed: {}); if something else mounted or \
             unmounted meanwhile, try again",
            shown.join(", ")
        ),
    ))
}

/// A large table needs a descriptor for each mount. The hard limit needs no privilege.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where this fails the old limit stays, and running into it names the call.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
