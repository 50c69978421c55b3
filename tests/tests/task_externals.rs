//! Open files and terminals that tasks had from outside: declared by name, granted by name, and used.

use anyhow::{Context as _, Result, bail, ensure};
use crux_tests::mounting::{self, Depth};
use crux_tests::terminals;
use crux_tests::{Lab, Output, Running, Setup, keep_to_streams, patience};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What it hears goes to a file that its starter opened.
const SHELL: &str = "while read line; do echo $line >&7; echo heard $line; done";
/// The same of a terminal; it is what controls its session.
const ON_A_TERMINAL: &str = "while read line; do echo heard $line; done";

fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        ensure!(start.elapsed() < patience(30), "{what}: not in time");
        std::thread::yield_now();
    }
    Ok(())
}

struct Inside {
    running: Running,
    pid: u32,
    root: PathBuf,
}

/// A container that runs a script: the command that starts it, to be run by a shell, and its root directory.
fn container(lab: &Lab, script: &str) -> Result<(String, PathBuf)> {
    let root = lab.root("root")?;
    mounting::bind(&root, &root, Depth::One)?;
    fs::write(root.join("script"), script)?;
    let enter = "mount -t proc proc /proc && umount -l /tmp && exec /bin/sh /script\n";
    fs::write(root.join("enter"), enter)?;
    let there = root.display();
    let inside = format!("cd {there} && pivot_root . tmp && exec /bin/sh /enter");
    let line = format!("unshare -m -n -u -i -p --fork /bin/sh -c '{inside}'");
    Ok((line, root))
}

fn script_of(running: &Running) -> Result<u32> {
    let mut found = None;
    until("the script", || {
        found = running.descendant(&["/bin/sh", "/script"]);
        Ok(found.is_some())
    })?;
    found.context("a script")
}

/// A shell whose output another program reads, and which has something of outside as its 7.
fn start(lab: &Lab, opens: &str, script: &str) -> Result<Inside> {
    let (line, root) = container(lab, script)?;
    let line = format!("exec {opens} && {line} | cat");
    let running = Running::start(Path::new("/bin/sh"), ["-c", &line])?;
    let pid = script_of(&running)?;
    Ok(Inside { running, pid, root })
}

fn hears(running: &mut Running, word: &str) -> Result<()> {
    running.say(word)?;
    let wanted = format!("heard {word}\n");
    until("an answer", || {
        if running.ended()?.is_some() {
            bail!("{}", String::from_utf8_lossy(&running.complained()?));
        }
        Ok(String::from_utf8_lossy(&running.printed()?).ends_with(&wanted))
    })
}

fn restore(lab: &Lab, root: &Path, options: &[&str]) -> Result<Running> {
    let root = format!("--root={}", root.display());
    let fixed = ["--external=auto", &root];
    let options = [&fixed[..], options].concat();
    lab.programs.restore_tasks(&lab.path("images"), &options)
}

fn refused(output: &Output, exit: i32, words: &str) -> Result<()> {
    ensure!(
        output.code() == Some(exit),
        "{:?}: {}",
        output.status,
        output.stderr
    );
    ensure!(output.stderr.contains(words), "{}", output.stderr);
    Ok(())
}

#[test]
fn root_a_file_that_the_starter_opened_is_declared_granted_and_written_on() {
    Lab::test(Setup::ROOT, |lab| {
        keep_to_streams()?;
        let (log, next) = (lab.path("log"), lab.path("next"));
        let mut inside = start(lab, &format!("7>>{}", log.display()), SHELL)?;
        hears(&mut inside.running, "one")?;
        let images = lab.path("images");
        let dump = |options: &[&str]| lab.programs.dump_tasks(inside.pid, &images, options);
        let said = dump(&["--dry-run"])?;
        refused(&said, 3, "is \"/srv/log\", which is outside the container")
            .or_else(|_| refused(&said, 3, "/log\", which is outside the container"))?;
        refused(&said, 3, "--external fd:1:7=fd:1:7")?;
        dump(&["--external=auto", "--external=log=fd:1:7"])?.success("crux-dump")?;
        let root = inside.root.clone();
        drop(inside);
        let said = restore(lab, &root, &[])?.finish()?;
        refused(&said, 3, &format!("--external log={}", log.display()))?;
        for (source, why) in [
            (
                "fd:0",
                "log: descriptor 0 is a fifo, but has to be a regular file",
            ),
            ("fd:77", "log: descriptor 77 is not open"),
            ("/", "log: /: open:"),
            (
                "/dev/zero",
                "is a character device 1:5, but has to be a regular file",
            ),
        ] {
            let said = restore(lab, &root, &[&format!("--external=log={source}")])?.finish()?;
            refused(&said, 2, why)?;
        }
        fs::write(&next, "")?;
        let grant = format!("--external=log={}", next.display());
        let mut restored = restore(lab, &root, &[&grant])?;
        hears(&mut restored, "two")?;
        restored.finish()?.success("crux-restore")?;
        ensure!(fs::read_to_string(&next)? == "two\n");
        // A descriptor of crux-restore's is passed on as it is.
        let program = lab.programs.restore.display();
        let line = format!(
            "exec 9>>{0} && exec {program} --images {1} --external auto --root {2} --external log=fd:9",
            next.display(),
            images.display(),
            root.display()
        );
        let mut restored = Running::start(Path::new("/bin/sh"), ["-c", &line])?;
        hears(&mut restored, "three")?;
        restored.finish()?.success("crux-restore")?;
        ensure!(fs::read_to_string(&next)? == "two\nthree\n");
        ensure!(fs::read_to_string(&log)? == "one\n", "nobody named it");
        Ok(())
    });
}

/// script(1) holds the master, outside.
fn on_a_terminal(lab: &Lab) -> Result<(Running, u32, PathBuf)> {
    let (line, root) = container(lab, ON_A_TERMINAL)?;
    let arguments = ["-qec", &line, "/dev/null"];
    let running = Running::start(Path::new("/usr/bin/script"), arguments)?;
    let pid = script_of(&running)?;
    Ok((running, pid, root))
}

#[test]
fn root_a_terminal_whose_master_was_outside_is_handed_over_at_a_socket() {
    Lab::test(Setup::ROOT, |lab| {
        keep_to_streams()?;
        let (running, pid, root) = on_a_terminal(lab)?;
        let images = lab.path("images");
        lab.programs
            .dump_tasks(pid, &images, &["--external=auto"])?
            .success("crux-dump")?;
        drop(running);
        let socket = lab.path("console");
        let listener = UnixListener::bind(&socket)?;
        let option = format!("--console-socket={}", socket.display());
        let restored = restore(lab, &root, &[&option])?;
        let Some(mut master) = terminals::receive(&listener)? else {
            bail!("nothing came: {}", restored.finish()?.stderr);
        };
        master.write_all(b"word\n")?;
        let mut said = Vec::new();
        until("an answer", || {
            let mut bytes = [0; 256];
            let count = master.read(&mut bytes)?;
            said.extend_from_slice(&bytes[..count]);
            Ok(String::from_utf8_lossy(&said).contains("heard word\r\n"))
        })?;
        // The end of the terminal is the end of who reads it.
        drop(master);
        ensure!(restored.finish()?.code().is_some());
        Ok(())
    });
}
