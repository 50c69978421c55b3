//! What crux-restore prints.
//!
//! Kind: shell.

use crate::cli::Options;
use crate::failure::{Exit, Failure};
use crate::roles::message::{Delivery, Verified};
use crate::tasks::plan::TaskPlan;
use crux_image::mounts::{External, Mounts, Origin};
use crux_image::path::Escaped;
use crux_mount::plan::Plan;
use crux_script::Purpose;
use serde_json::json;
use std::io::{ErrorKind, Write as _};

/// Says it on standard output, all of it. Whoever closes that has seen enough.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Undone,
            format_args!("write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Nothing is to be done if standard error is gone.
fn remark(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(format_args!("{text}\n"));
}

/// The plan that would be run, and what its numbers stand for.
pub(crate) fn dry_run(
    plan: &Plan,
    mounts: &Mounts,
    tasks: Option<&TaskPlan>,
    options: &Options,
) -> String {
    if options.json {
        let steps: Vec<_> = plan.steps().map(ToString::to_string).collect();
        let lines = tasks.map(|plan| plan.arena.listing(Purpose::Restore).to_string());
        let lines: Vec<_> = lines.iter().flat_map(|text| text.lines()).collect();
        return format!(
            "{}\n",
            json!({ "dry_run": true, "steps": steps, "lines": lines })
        );
    }
    let origins = mounts.origins.iter().enumerate();
    let origins = origins.map(|(at, origin)| match origin {
        Origin::Own(own) => {
            let source = Escaped(&own.source);
            format!("{at:>5}  {} {source}, made anew\n", own.fs_type.name())
        }
        Origin::External(External { fs_type, name, .. }) => {
            format!("{at:>5}  {fs_type}, the source granted for {name}\n")
        }
    });
    let every = mounts.every_mount().map(|(ns, at, _)| {
        let path = mounts.namespaces[ns.at()].path_of(at);
        format!("{:>5}  {path}\n", format!("{}:{}", ns.0, at.0))
    });
    let (origins, every): (String, String) = (origins.collect(), every.collect());
    let tasks = tasks.map_or_else(String::new, |plan| {
        format!("\nTasks:\n{}", plan.arena.listing(Purpose::Restore))
    });
    format!("{plan}\nOrigins:\n{origins}\nMounts:\n{every}{tasks}")
}

/// What was restored, with how many ptys whose masters are held. A command's own output
/// stays clean: people get it on stderr.
pub(crate) fn restored(
    options: &Options,
    verified: Verified,
    terminals: usize,
) -> Result<(), Failure> {
    let Verified {
        namespaces,
        mounts: count,
    } = verified;
    if options.json {
        let pin = options.pin.as_ref().map(|file| file.display().to_string());
        return say(&format!(
            "{}\n",
            json!({ "restored": { "namespaces": namespaces, "mounts": count, "verified": true, "pin": pin, "terminals": terminals } })
        ));
    }
    if options.command.is_empty() {
        let fate = match &options.pin {
            Some(file) => format!("pinned at {}", file.display()),
            None => "gone again: nothing keeps it (give --pin FILE or a command)".to_owned(),
        };
        remark(format_args!(
            "restored and verified {count} mounts in {namespaces} namespace(s), {fate}"
        ));
        if options.pin.is_some() && terminals > 0 {
            remark(format_args!(
                "its {terminals} terminals (/dev/console, /dev/tty1, ...) hang up now: \
                 this program held their masters"
            ));
        }
    }
    Ok(())
}

/// What runs now. People get it on stderr, and only where nothing else is said there later.
pub(crate) fn released(
    options: &Options,
    verified: Verified,
    delivery: &Delivery,
    pid: u32,
) -> Result<(), Failure> {
    let Delivery {
        processes, threads, ..
    } = delivery;
    let Verified { namespaces, mounts } = verified;
    if options.json {
        return say(&format!(
            "{}\n",
            json!({ "restored": { "namespaces": namespaces, "mounts": mounts, "verified": true,
                "processes": processes, "threads": threads, "pid": pid } })
        ));
    }
    if options.detach {
        remark(format_args!(
            "restored and verified {processes} process(es) with {threads} thread(s) and {mounts} \
             mounts; the first is process {pid}"
        ));
    }
    Ok(())
}
