//! `cargo xtask tidy`: the rules of style that no compiler checks.
//!
//! Kind: pure over the text of the files; only [`tree`] reads. CONTRIBUTING.md
//! says why each rule is there.

use crate::cargo::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Above this a file has more than one concern.
const LONGEST: usize = 600;
const VAGUE: [&str; 6] = ["util", "utils", "common", "helpers", "helper", "misc"];
const LICENCES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

/// Which of our packages a package may depend on.
const DIRECTION: [(&str, &[&str]); 7] = [
    ("crux-image", &[]),
    ("crux-mount", &["crux-image"]),
    ("crux-role", &["crux-image", "crux-mount"]),
    ("crux-script", &[]),
    ("crux-trace", &[]),
    (
        "crux-dump",
        &[
            "crux-image",
            "crux-mount",
            "crux-role",
            "crux-script",
            "crux-trace",
        ],
    ),
    (
        "crux-restore",
        &[
            "crux-image",
            "crux-mount",
            "crux-role",
            "crux-script",
            "crux-trace",
        ],
    ),
];

/// A file, with its path from the top of the workspace.
struct Source {
    path: PathBuf,
    text: String,
}

type Rule = fn(&Source) -> Vec<String>;

const RUST: [Rule; 6] = [
    opens_with_docs,
    length,
    unsafe_place,
    module_name,
    image_codec,
    ignored,
];

pub(crate) fn run() -> Result<()> {
    let faults = check(&workspace())?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    match faults.len() {
        0 => println!("tidy: nothing to say"),
        count => bail!("tidy: {count} faults"),
    }
    Ok(())
}

fn check(top: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for source in tree(top)? {
        let found: Vec<String> = match source.path.file_name().and_then(|name| name.to_str()) {
            Some("Cargo.toml") => dependencies(&source),
            _ => RUST.iter().flat_map(|rule| rule(&source)).collect(),
        };
        let at = source.path.display();
        faults.extend(found.iter().map(|fault| format!("{at}: {fault}")));
    }
    let missing = LICENCES.iter().filter(|name| !top.join(name).is_file());
    faults.extend(missing.map(|name| format!("{name}: missing")));
    Ok(faults)
}

/// All Rust files and manifests, but for what cargo and git keep.
fn tree(top: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("{directory:?}"))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let hidden = name.as_encoded_bytes().starts_with(b".") || name == "target";
            if entry.file_type()?.is_dir() && !hidden {
                open.push(path);
            } else if name == "Cargo.toml" || path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("{path:?}"))?;
                let path = path.strip_prefix(top).unwrap_or(&path).to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

impl Source {
    /// The lines that are no comments, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
        code.map(|(number, line)| (number + 1, line))
    }

    /// A fault for each line of code in which one of these is found.
    fn lines_with(&self, needles: &[String], fault: &str) -> Vec<String> {
        let bad = self
            .code()
            .filter(|(_, line)| needles.iter().any(|it| line.contains(it.as_str())));
        bad.map(|(number, _)| format!("line {number}: {fault}"))
            .collect()
    }
}

fn opens_with_docs(source: &Source) -> Vec<String> {
    match source.text.starts_with("//!") {
        true => Vec::new(),
        false => vec!["does not open with `//!`".into()],
    }
}

fn length(source: &Source) -> Vec<String> {
    match source.text.lines().count() {
        0..LONGEST => Vec::new(),
        lines => vec![format!("{lines} lines: more than one concern")],
    }
}

fn unsafe_place(source: &Source) -> Vec<String> {
    if source.path.ends_with("sys.rs") {
        return Vec::new();
    }
    // Put together here, so that this file does not match.
    let word = |rest: &str| ["unsafe", rest].concat();
    let needles = [" {", " fn", " impl", " extern", "_code)"].map(word);
    source.lines_with(&needles, "unsafe code belongs in sys.rs")
}

fn module_name(source: &Source) -> Vec<String> {
    let names = source
        .path
        .components()
        .filter_map(|part| Path::new(part.as_os_str()).file_stem());
    let vague = names.filter(|name| VAGUE.iter().any(|word| name == word));
    vague
        .map(|name| format!("no module is called {}", name.to_string_lossy()))
        .collect()
}

fn image_codec(source: &Source) -> Vec<String> {
    if source.path.starts_with("crux-image") {
        return Vec::new();
    }
    let name = ["bin", "code"].concat();
    let needles = [format!("{name}::"), format!("use {name}")];
    source.lines_with(&needles, "only crux-image names the codec's library")
}

fn ignored(source: &Source) -> Vec<String> {
    let needles = [["#[", "ignore"].concat()];
    source.lines_with(&needles, "a test that is not run is no test")
}

/// The direction of dependencies, and who may depend on the codec's library.
fn dependencies(source: &Source) -> Vec<String> {
    let package = source.path.parent().and_then(Path::to_str).unwrap_or("");
    let mut faults = Vec::new();
    for name in dependency_names(&source.text) {
        // A package may name itself, to switch a feature on for its own tests.
        let ours = name.starts_with("crux-") && name != package;
        let rule = DIRECTION.iter().find(|(of, _)| *of == package);
        if ours && rule.is_some_and(|(_, allowed)| !allowed.contains(&name)) {
            faults.push(format!("must not depend on {name}"));
        }
        if name == ["bin", "code"].concat() && package != "crux-image" && !package.is_empty() {
            faults.push(format!("only crux-image depends on {name}"));
        }
    }
    faults
}

/// The names in every section of dependencies.
fn dependency_names(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
        } else if inside && !line.starts_with('#') {
            names.extend(
                line.split(['.', ' ', '='])
                    .next()
                    .filter(|name| !name.is_empty()),
            );
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        let source = Source {
            path: path.into(),
            text: text.into(),
        };
        match path.ends_with(".toml") {
            true => dependencies(&source).len(),
            false => RUST.iter().map(|rule| rule(&source).len()).sum(),
        }
    }

    #[test]
    fn the_workspace_is_tidy() {
        assert_eq!(check(&workspace()).unwrap(), [""; 0]);
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        let attribute = ["#[", "ignore]"].concat();
        let block = ["let x = unsafe", " { y };"].concat();
        let codec = ["use bin", "code::Options;"].concat();
        let cases = [
            ("a/src/x.rs", "use std;\n".to_owned(), 1),
            ("a/src/x.rs", "//! x\n".repeat(LONGEST), 1),
            ("a/src/x.rs", format!("//! x\n{block}\n"), 1),
            ("a/src/sys.rs", format!("//! x\n{block}\n"), 0),
            ("a/src/misc.rs", "//! x\n".into(), 1),
            ("a/common/mod.rs", "//! x\n".into(), 1),
            ("crux-mount/src/x.rs", format!("//! x\n{codec}\n"), 1),
            ("crux-image/src/x.rs", format!("//! x\n{codec}\n"), 0),
            ("a/src/x.rs", format!("//! x\n{attribute}\n"), 1),
            ("a/src/x.rs", format!("//! x\n// {attribute}\n"), 0),
            (
                "crux-dump/Cargo.toml",
                "[dependencies]\ncrux-restore.workspace = true\n".into(),
                1,
            ),
            (
                "crux-dump/Cargo.toml",
                "[dependencies]\ncrux-mount.workspace = true\n".into(),
                0,
            ),
            (
                "crux-image/Cargo.toml",
                "[dev-dependencies]\ncrux-mount = 1\n".into(),
                1,
            ),
            (
                "crux-dump/Cargo.toml",
                "[dependencies]\nbincode = \"1\"\n".into(),
                1,
            ),
        ];
        for (path, text, count) in cases {
            assert_eq!(faults(path, &text), count, "{path}: {text:.60}");
        }
    }
}
