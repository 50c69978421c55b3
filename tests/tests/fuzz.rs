//! Hostile bytes by the thousand, for each reader (fuzz/readers.rs), and for the planner as a
//! restore starts it: it answers, or it exits; it is never killed, hangs, or grows.
//!
//! The same bytes in every run. A fuzzer finds more: `cargo xtask fuzz`.

#[path = "../../fuzz/readers.rs"]
mod readers;
#[path = "../../crux-image/tests/it/task_record.rs"]
mod task_record;

use anyhow::{Result, ensure};
use crux_image::codec;
use crux_image::contents::{
    ContentsWriter, Data, Entry, FileEntry, Inline, Metadata, Mode, Name, Node, Timestamp,
};
use crux_image::directory::Members;
use crux_image::member::HEADER_LENGTH;
use crux_image::mounts::{Contents, Mounts, Origin};
use crux_image::tasks::{Limit, Tasks};
use crux_restore::cli::Options;
use crux_restore::failure::Exit;
use crux_restore::restore::plan_alone;
use crux_tests::in_child;
use nix::sys::resource::{UsageWho, getrusage};
use readers::{TARGETS, image, tasks_image};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

const GOLDEN: [&[u8]; 2] = [
    include_bytes!("../../crux-image/tests/golden/v2/vivid/mounts.crux"),
    include_bytes!("../../crux-image/tests/golden/v2/groups/mounts.crux"),
];
const TABLES: [&[u8]; 2] = [
    include_bytes!("../../crux-mount/testdata/vivid-mountinfo.txt"),
    include_bytes!("../../crux-mount/testdata/debian12-systemd-mountinfo.txt"),
];

/// A generator of numbers (xorshift64*), for the same bytes in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % sides.max(1)
    }

    /// A part of `bytes`, mostly a short one.
    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.roll(bytes.len() + 1);
        let most = (bytes.len() - start).min([4, 16, 4096][self.roll(3)]);
        start..start + self.roll(most + 1)
    }

    /// The same bytes, a little different.
    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            match (self.roll(6), bytes.get_mut(at)) {
                (0, Some(byte)) => *byte ^= 1 << self.roll(8),
                (1, Some(byte)) => *byte = [0, 1, 2, 3, 5, 0x7f, 0x80, 0xff][self.roll(8)],
                (2, Some(byte)) => *byte = byte.wrapping_add(self.roll(3) as u8).wrapping_sub(1),
                (3, _) => {
                    let gone = self.range(&bytes);
                    drop(bytes.drain(gone));
                }
                (4, _) => {
                    let again = self.range(&bytes);
                    let part = bytes[again].to_vec();
                    let at = self.roll(bytes.len() + 1);
                    drop(bytes.splice(at..at, part));
                }
                (_, _) => {
                    let more = (0..self.roll(9)).map(|_| self.roll(256) as u8);
                    let part: Vec<u8> = more.collect();
                    let at = self.roll(bytes.len() + 1);
                    drop(bytes.splice(at..at, part));
                }
            }
        }
        bytes
    }
}

/// A record of mounts whose file systems have their files in these frames, as
/// [`image`] takes both.
fn whole_image(golden: &[u8]) -> Result<Vec<u8>> {
    let mut mounts: Mounts = codec::decode(&golden[HEADER_LENGTH..], 1 << 20)?;
    let (index, section) = tree()?;
    for origin in &mut mounts.origins {
        if let Origin::Own(own) = origin
            && own.fs_type.name() == "tmpfs"
        {
            own.contents = Contents::Tree(section);
        }
    }
    mounts.check()?;
    let frames = frames(&index);
    let length = (frames.len() as u16).to_le_bytes();
    Ok([&length[..], &frames, &codec::encode(&mounts)].concat())
}

/// A record of tasks that nothing is in the way of on any machine.
fn restorable() -> Tasks {
    let mut tasks = task_record::second();
    for process in &mut tasks.processes {
        process.limits.fill(Limit { soft: 0, hard: 0 });
    }
    let own = tasks.descriptor_tables[0].clone();
    tasks.descriptor_tables.push(own);
    tasks.processes[1].descriptors = Some(1.into());
    tasks
}

/// A directory with a file in it.
fn tree() -> Result<(Vec<u8>, crux_image::contents::Section)> {
    let now = Timestamp {
        seconds: 1,
        nanoseconds: 0,
    };
    let metadata = Metadata {
        uid: 0,
        gid: 0,
        mode: Mode(0o755),
        accessed: now,
        modified: now,
    };
    let file = Entry::File(FileEntry {
        name: Name::new("note")?,
        names: 1,
        metadata,
        node: Node::Regular {
            size: 4,
            data: Data::Inline(Inline::new("kept")?),
        },
    });
    let mut writer = ContentsWriter::new(Cursor::new(Vec::new()), Cursor::new(Vec::new()))?;
    writer.begin_section()?;
    for entry in [file, Entry::Leave(metadata)] {
        writer.push(&entry)?;
    }
    let section = writer.finish_section()?;
    Ok((writer.finish()?.0.into_inner(), section))
}

/// The frames of an index, each after its length in two bytes.
fn frames(index: &[u8]) -> Vec<u8> {
    let mut rest = &index[32..];
    let mut frames = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        frames.extend((length as u16).to_le_bytes());
        frames.extend(&after[4..4 + length]);
        rest = &after[4 + length..];
    }
    frames
}

fn seeds(target: &str) -> Result<Vec<Vec<u8>>> {
    let payload = |golden: &&[u8]| golden[HEADER_LENGTH..].to_vec();
    Ok(match target {
        "member" => GOLDEN.iter().map(|it| it.to_vec()).collect(),
        "mounts" => GOLDEN.iter().map(payload).collect(),
        "contents" => vec![frames(&tree()?.0)],
        "mountinfo" => TABLES.iter().map(|it| it.to_vec()).collect(),
        "planner" => GOLDEN
            .iter()
            .map(|it| whole_image(it))
            .collect::<Result<_>>()?,
        "tasks" => vec![
            codec::encode(&task_record::second()),
            codec::encode(&task_record::connected()),
            codec::encode(&task_record::locked()),
        ],
        "compiler" => vec![codec::encode(&restorable())],
        _ => vec![Vec::new(), vec![0; 200]],
    })
}

#[test]
fn no_reader_panics() -> Result<()> {
    for (name, read) in TARGETS {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let seeds = seeds(name)?;
        for seed in &seeds {
            read(seed);
        }
        for _ in 0..2000 {
            let at = dice.roll(seeds.len());
            read(&dice.mutated(&seeds[at]));
        }
    }
    Ok(())
}

#[test]
fn every_reader_has_a_fuzz_target() -> Result<()> {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for (name, _) in TARGETS {
        let target = format!("path = \"fuzz_targets/{name}.rs\"");
        ensure!(manifest.contains(&target), "{name}");
    }
    let listed = manifest.matches("[[bin]]").count();
    ensure!(listed == TARGETS.len(), "{listed} in the manifest");
    Ok(())
}

/// A planner that is fed, and what is made of bytes for it.
type Fed = (&'static str, fn(&Path) -> Options, fn(&[u8]) -> Members);

/// Without tasks and with.
const FED: [Fed; 2] = [
    ("planner", Options::for_image, image),
    ("compiler", Options::for_tasks, tasks_image),
];

/// The exit codes of the answers, and how often each was given.
fn answers((name, options, image): Fed, rounds: usize) -> Result<BTreeMap<u8, usize>> {
    let options = Options {
        time_limit: Some(20),
        ..options(Path::new("image"))
    };
    let seeds = seeds(name)?;
    for seed in &seeds {
        let planned = plan_alone(&options, &image(seed))?;
        ensure!(planned.is_ok(), "the seed itself: {planned:?}");
    }
    let mut dice = Dice(0xd1b5_4a32_d192_ed03);
    let mut answers = BTreeMap::new();
    for round in 0..rounds {
        let at = dice.roll(seeds.len());
        let bytes = dice.mutated(&seeds[at]);
        let answer = plan_alone(&options, &image(&bytes));
        let answer = answer.map_err(|error| anyhow::anyhow!("{name}, image {round}: {error}"))?;
        let code = answer.err().map_or(0, |failure| failure.exit as u8);
        *answers.entry(code).or_default() += 1;
    }
    Ok(answers)
}

/// Tests are threads, and the allocator of a thread other than the first opens a file of /proc
/// to shrink, which a planner may not do; a restore has one thread. So the test starts itself
/// again with one heap.
const ONE_HEAP: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1");

#[test]
fn the_planner_only_ever_answers() -> Result<()> {
    let (name, value) = ONE_HEAP;
    if std::env::var(name).is_ok_and(|it| it == value) {
        return only_answers();
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(["--exact", "the_planner_only_ever_answers", "--nocapture"]);
    let output = again.env(name, value).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{complained}");
    // Not a test that was not found.
    ensure!(said.contains("at most"), "{said}");
    println!("{said}");
    Ok(())
}

fn only_answers() -> Result<()> {
    // A process of one thread, which makes roles as crux-restore does.
    for fed in FED {
        let answer = in_child(|| {
            let answers = answers(fed, 3000)?;
            let count = |exit: u8| answers.get(&exit).copied().unwrap_or(0);
            // Some images are still whole, and most are not: both ways were taken.
            ensure!(
                count(0) > 30 && count(Exit::Image as u8) > 1000,
                "{answers:?}"
            );
            let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
            ensure!(peak < 64 << 10, "a planner took {peak} KiB: {answers:?}");
            Ok(format!("{answers:?}, at most {peak} KiB").into_bytes())
        })?;
        println!("{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
