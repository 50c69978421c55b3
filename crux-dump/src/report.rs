//! What crux-dump prints.
//!
//! Kind: shell.

use crate::cli::Options;
use crate::failure::{Exit, Failure};
use crate::roles::message::Stopped;
use crux_image::inventory::ImageId;
use crux_image::mounts::Mounts;
use crux_image::render;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};

/// On standard error. Nothing is left to be done if that is gone too.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

/// What to print once it is done, with the id of the image that was written.
pub(crate) fn done(
    options: &Options,
    id: Option<ImageId>,
    left_out: usize,
    covered: u64,
    mounts: &Mounts,
) -> String {
    let id = id.map(|id| id.to_string());
    match (options.json, options.dry_run) {
        (true, _) => format!(
            "{}\n",
            json!({ "written": id.is_some(), "image": id, "left_out": left_out, "covered": covered, "mounts": render::mounts_record(mounts) })
        ),
        (false, true) => render::tree(mounts),
        (false, false) => String::new(),
    }
}

/// Mounts that no task of the container can get at.
pub(crate) fn left_out(count: u64) {
    if count > 0 {
        say(format_args!(
            "Note: {count} mounts that its root directory does not reach (chroot) are left out\n"
        ));
    }
}

/// How long the container stood still, and how long it took until all of it did.
pub(crate) fn frozen(stopped: Stopped, microseconds: u64) {
    let count = stopped.processes;
    let processes = if count == 1 {
        "process was"
    } else {
        "processes were"
    };
    let milliseconds = |time: u64| format!("{}.{}", time / 1000, time % 1000 / 100);
    let (whole, first) = (
        milliseconds(microseconds),
        milliseconds(stopped.microseconds),
    );
    say(format_args!(
        "Note: {count} {processes} frozen for {whole} ms, all stopped within {first} ms\n"
    ));
}

/// What will not be as it was, because nobody can say what it was, or a restore cannot do it.
pub(crate) fn unlike(lost: u64, covered: u64) {
    if covered > 0 {
        say(format_args!(
            "Note: mounts that the container's user namespace cannot take away cover {covered} files; what is in them is not known, and they are recorded empty\n"
        ));
    }
    if lost > 0 {
        say(format_args!(
            "Note: {lost} mounts are locked to their places by a user namespace, which is not reproduced\n"
        ));
    }
}

/// What only a reader of a terminal can see.
pub(crate) fn unread(bytes: u64) {
    if bytes > 0 {
        say(format_args!(
            "Note: {bytes} bytes in terminals that nobody had read yet are not in the image\n"
        ));
    }
}

/// On standard output, all of it. That it cannot be written is a failure, though the image is there.
pub(crate) fn print(text: &str, options: &Options) -> Result<(), Failure> {
    say_all(text).map_err(|error| {
        let (exit, image) = match options.dry_run {
            true => (Exit::Undone, ""),
            false => (Exit::Uncertain, "; the image is complete"),
        };
        let what = format_args!("write to standard output: {error}{image}");
        Failure::new(exit, what)
    })
}

/// On standard output; whoever closes that has seen enough.
pub(crate) fn say_all(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Why there is no image, and what would help.
pub fn failure(options: &Options, failure: &Failure) {
    say(format_args!("Error: failed to {failure}\n"));
    let obstacles = &failure.obstacles;
    for obstacle in obstacles {
        say(format_args!("  {}\n", obstacle.what));
    }
    let helpful: BTreeSet<&String> = obstacles.iter().flat_map(|told| &told.options).collect();
    if !helpful.is_empty() {
        say(format_args!("  these options would help:\n"));
        helpful
            .iter()
            .for_each(|option| say(format_args!("    {option}\n")));
    }
    // Once there is an image, standard output is what could not be written to.
    if options.json && failure.exit != Exit::Uncertain {
        let text = json!({ "written": false, "error": failure.message, "exit": failure.exit as u8, "obstacles": obstacles });
        // The exit code says it as well.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}
