//! The contents of a tmpfs, against `cp -a`.
//!
//! Kind: effect. The image and the copies are on the same file system.

use super::measure::{Row, Target, in_turn};
use super::mounts::{dump, peak, restore};
use anyhow::{Context as _, Result, ensure};
use crux_tests::blueprint::many;
use crux_tests::{Container, Lab, Programs, Setup, mounting};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const TARGET: Target = Target::Times(1.5, 0.0);
/// "Bounded": far below the contents, and the same for both.
const MEBIBYTES: f64 = 32.0;

pub(super) fn run(programs: &Programs, runs: u32, mib: usize, files: usize) -> Result<Vec<Row>> {
    let large = |at: &Path| write_large(&at.join("large"), mib);
    let small = |at: &Path| write_small(at, files);
    let mut rows = measure(programs, runs, &format!("one file of {mib} MiB"), large)?;
    rows.extend(measure(
        programs,
        runs,
        &format!("{files} small files"),
        small,
    )?);
    Ok(rows)
}

fn measure(
    programs: &Programs,
    runs: u32,
    name: &str,
    fill: impl Fn(&Path) -> Result<()>,
) -> Result<Vec<Row>> {
    let answer = Lab::with_programs(Setup::ROOT, programs.clone(), |lab| {
        let container = many::with_contents(lab, &fill)?;
        Ok(serde_json::to_vec(&both_ways(lab, container, name, runs)?)?)
    })?;
    Ok(serde_json::from_slice(&answer)?)
}

fn both_ways(lab: &Lab, container: Container, name: &str, runs: u32) -> Result<Vec<Row>> {
    let (images, copied) = (lab.path("images"), lab.path("copied"));
    let data = container.path("/data");
    let (dumping, out) = in_turn(
        runs,
        || dump(lab, &container, &images),
        || copy_out(&data, &copied),
    )?;
    let dump_peak = peak(|| dump(lab, &container, &images))?;
    drop(container);
    let (restoring, back) = in_turn(
        runs,
        || until_command(lab, &images),
        || copy_into_new_tmpfs(lab, &copied),
    )?;
    let restore_peak = peak(|| until_command(lab, &images))?;
    let memory = |what, peak| {
        Row::mebibytes(
            format!("memory of {what}: {name}"),
            peak,
            Target::Most(MEBIBYTES),
        )
    };
    Ok(vec![
        Row::seconds(format!("dump: {name}"), dumping, out, TARGET),
        Row::seconds(format!("restore: {name}"), restoring, back, TARGET),
        memory("dump", dump_peak),
        memory("restore", restore_peak),
    ])
}

fn copy_out(from: &Path, to: &Path) -> Result<f64> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let start = Instant::now();
    copy(from, to)?;
    Ok(start.elapsed().as_secs_f64())
}

fn until_command(lab: &Lab, images: &Path) -> Result<f64> {
    Ok(restore(lab, images)?.until_command)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .arg("-a")
        .arg("--reflink=never")
        .args([from, to])
        .status()?;
    ensure!(status.success(), "cp -a {from:?} {to:?}: {status}");
    Ok(())
}

fn copy_into_new_tmpfs(lab: &Lab, from: &Path) -> Result<f64> {
    let at = lab.path("back");
    fs::create_dir_all(&at)?;
    let start = Instant::now();
    mounting::new("tmpfs", "back", &at, "rw,relatime", "")?;
    copy(from, &at.join("data"))?;
    let time = start.elapsed().as_secs_f64();
    mounting::detach(&at)?;
    Ok(time)
}

fn write_large(path: &Path, mib: usize) -> Result<()> {
    use std::io::Write as _;
    // No byte is zero, so that nothing is a hole.
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8 + 1).collect();
    let mut file = fs::File::create(path).context("the large file")?;
    (0..mib)
        .try_for_each(|_| file.write_all(&block))
        .context("the large file")
}

fn write_small(at: &Path, files: usize) -> Result<()> {
    let block = [7; 512];
    for number in 0..files {
        let directory = at.join(format!("{}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir(&directory)?;
        }
        fs::write(directory.join(format!("{}", number % 1000)), block)?;
    }
    Ok(())
}
