//! What crux-restore prints.
//!
//! Kind: shell.

use crate::cli::Options;
use crate::roles::message::{Verified, printable};
use crux_image::mounts::{Mounts, Origin};
use crux_image::path::Escaped;
use crux_mount::plan::Plan;
use serde_json::json;

/// The plan that would be run, and what its numbers stand for.
pub(crate) fn dry_run(plan: &Plan, mounts: &Mounts, options: &Options) -> String {
    if options.json {
        let steps: Vec<_> = plan.steps().iter().map(ToString::to_string).collect();
        return format!("{}\n", json!({ "dry_run": true, "steps": steps }));
    }
    let mut lines = vec![format!("{plan}"), "Origins:".to_owned()];
    for (at, origin) in mounts.origins.iter().enumerate() {
        lines.push(match origin {
            Origin::Own(own) => {
                let source = Escaped(&own.source);
                format!("{at:>5}  {} {source}, made anew", own.fs_type.name())
            }
            Origin::External(external) => format!(
                "{at:>5}  {}, the source granted for {}",
                external.fs_type, external.name
            ),
        });
    }
    lines.push("\nMounts:".to_owned());
    for (ns, at, _) in mounts.every_mount() {
        let path = mounts.namespaces[ns.at()].path_of(at);
        lines.push(format!("{:>5}  {path}", format!("{}:{}", ns.0, at.0)));
    }
    lines.join("\n") + "\n"
}

/// What the planner has to show. It may have been taken over: nothing in it controls a terminal.
pub(crate) fn text(text: &str) {
    print!("{}", printable(text));
}

/// What was restored, with how many ptys whose masters are held. A command's own output
/// stays clean: people get it on stderr.
pub(crate) fn restored(options: &Options, verified: Verified, terminals: usize) {
    let Verified {
        namespaces,
        mounts: count,
    } = verified;
    if options.json {
        let pin = options.pin.as_ref().map(|file| file.display().to_string());
        println!(
            "{}",
            json!({ "restored": { "namespaces": namespaces, "mounts": count, "verified": true, "pin": pin, "terminals": terminals } })
        );
        return;
    }
    if options.command.is_empty() {
        let fate = match &options.pin {
            Some(file) => format!("pinned at {}", file.display()),
            None => "gone again: nothing keeps it (give --pin FILE or a command)".to_owned(),
        };
        eprintln!("restored and verified {count} mounts in {namespaces} namespace(s), {fate}");
        if options.pin.is_some() && terminals > 0 {
            eprintln!(
                "its {terminals} terminals (/dev/console, /dev/tty1, ...) hang up now: \
                 this program held their masters"
            );
        }
    }
}
