//! docs/threat-model.md names a row for every role and tests that exist.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../../docs/threat-model.md");
const PRIVILEGES: &str = include_str!("../../docs/privileges.md");

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All that is in backticks.
fn quoted() -> impl Iterator<Item = &'static str> {
    DOCUMENT.split('`').skip(1).step_by(2)
}

/// The sources of all packages.
fn sources() -> Result<String> {
    let (mut text, mut open) = (String::new(), vec![workspace()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if name.ends_with(".rs") {
                text += &fs::read_to_string(&path)?;
            }
        }
    }
    Ok(text)
}

#[test]
fn each_test_and_file_that_is_named_exists() -> Result<()> {
    let sources = sources()?;
    let (mut files, mut tests) = (0, 0);
    for name in quoted() {
        if name.contains('/') && !name.starts_with('/') {
            ensure!(workspace().join(name).exists(), "there is no {name}");
            files += 1;
        } else if name.contains('_')
            && name
                .chars()
                .all(|it| it.is_ascii_lowercase() || "_.0123456789".contains(it))
        {
            // A long name may be cut short.
            let begins = format!("fn {}", name.trim_end_matches('.'));
            ensure!(sources.contains(&begins), "there is no test {name}");
            tests += 1;
        }
    }
    ensure!(
        files > 20 && tests > 10,
        "{files} files and {tests} tests only"
    );
    Ok(())
}

/// The first columns of tables whose first heading is one of these.
fn first_column(text: &str, headings: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let first = cells.next().unwrap_or_default();
        match line.starts_with('|') {
            true if headings.contains(&first) => inside = true,
            true if inside && !first.starts_with("---") => found.push(first.to_owned()),
            true => {}
            false => inside = false,
        }
    }
    found
}

#[test]
fn each_role_has_a_row() -> Result<()> {
    let told = first_column(DOCUMENT, &["role"]);
    for (program, suffix) in [("crux-restore", ""), ("crux-dump", " of a dump")] {
        let heading = format!("\n## {program}\n");
        let begin = PRIVILEGES.find(&heading).context("no such section")? + heading.len();
        let section = PRIVILEGES[begin..]
            .split("\n## ")
            .next()
            .unwrap_or_default();
        let roles = first_column(section, &["role", "with tasks"]);
        ensure!(roles.len() > 3, "{program}: {roles:?}");
        // These are what roles let go.
        let let_go = ["COMMAND", "tasks"];
        let roles = roles.iter().filter(|it| !let_go.contains(&it.as_str()));
        for role in roles {
            // What becomes of one is in its own row.
            let role = role.split(" of ").next().unwrap_or_default();
            let wanted = format!("{role}{suffix}");
            ensure!(told.contains(&wanted), "{wanted} has no row: {told:?}");
        }
    }
    Ok(())
}
