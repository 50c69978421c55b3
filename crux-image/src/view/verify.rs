//! `crux-image verify`: reads everything and says whether it is whole.
//!
//! Kind: shell.

use super::{Image, ViewError, output};
use crux_image::directory::{Finding, ImageReader, MemberReport};
use serde::Serialize;
use std::fmt::Write;
use std::process::ExitCode;

#[derive(Serialize)]
struct Verified {
    whole: bool,
    members: Vec<Member>,
    strangers: Vec<String>,
}

#[derive(Serialize)]
struct Member {
    file: &'static str,
    length: u64,
    finding: &'static str,
    error: Option<String>,
}

pub(super) fn run(options: &Image) -> Result<ExitCode, ViewError> {
    let reader = ImageReader::open(&options.image)?;
    let members: Vec<Member> = reader.verify().iter().map(member).collect();
    let strangers = reader.strangers()?;
    let verified = Verified {
        whole: members.iter().all(|m| m.error.is_none()),
        members,
        strangers,
    };
    if options.json {
        output::json(&verified)?;
    } else {
        output::text(&words(&verified))?;
    }
    let mut refused = verified.members.iter().filter_map(|m| m.error.as_deref());
    match (refused.next(), refused.count()) {
        (None, _) => Ok(ExitCode::SUCCESS),
        (Some(first), 0) => Err(ViewError::Refused(first.to_owned())),
        (Some(first), more) => Err(ViewError::Refused(format!("{first} (and {more} more)"))),
    }
}

fn member(report: &MemberReport) -> Member {
    let (finding, error) = match &report.finding {
        Finding::Whole => ("whole", None),
        Finding::Refused(error) => ("refused", Some(error.to_string())),
    };
    Member {
        file: report.kind.file_name(),
        length: report.length,
        finding,
        error,
    }
}

fn words(verified: &Verified) -> String {
    let mut text = format!("{:<16} whole\n", "inventory.crux");
    for member in &verified.members {
        let _ = writeln!(text, "{:<16} {}", member.file, member.finding);
    }
    for stranger in &verified.strangers {
        let _ = writeln!(text, "{stranger:<16} no part of the image, never read");
    }
    text
}
