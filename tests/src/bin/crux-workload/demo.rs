//! What the demo has in its container besides shells: a pair of sockets in use, and somebody at a terminal.
//!
//! Kind: effect. Each says in a file how far it is, on and on, or what is wrong.

use crate::sys::child;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::time::Duration;

/// The part with this name; it never returns.
pub(crate) fn part(name: &str, file: &str) {
    let wrong = match name {
        "demo-sockets" => sockets(file),
        "demo-terminal" => terminal(file),
        _ => return,
    };
    tell(file, &format!("{wrong:?}"));
    exit(1);
}

/// Whoever looks sees the old words or the new.
fn tell(file: &str, words: &str) {
    let new = format!("{file}.new");
    let told = fs::write(&new, format!("{words}\n")).and_then(|()| fs::rename(&new, file));
    if told.is_err() {
        exit(1);
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// A number goes to another process, and comes back greater by one.
fn sockets(file: &str) -> std::io::Result<()> {
    let (mut here, mut there) = UnixStream::pair()?;
    child(|| {
        let mut bytes = [0; 8];
        while there.read_exact(&mut bytes).is_ok() {
            let next = u64::from_le_bytes(bytes) + 1;
            let _ = there.write_all(&next.to_le_bytes());
        }
        0
    });
    drop(there);
    let mut number = 0_u64;
    loop {
        here.write_all(&number.to_le_bytes())?;
        let mut bytes = [0; 8];
        here.read_exact(&mut bytes)?;
        match u64::from_le_bytes(bytes) {
            next if next == number + 1 => number = next,
            other => tell(file, &format!("{number} came back as {other}")),
        }
        tell(file, &number.to_string());
        pause();
    }
}

/// Types lines at a terminal of which another process has the other side: they are echoed, and answered.
fn terminal(file: &str) -> std::io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = open("/dev/pts/ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    let slave = File::from(slave);
    child(|| answer(&slave).map_or(1, |()| 0));
    drop(slave);
    let mut master = File::from(master);
    let mut screen = BufReader::new(master.try_clone()?);
    let mut number = 0_u64;
    loop {
        number += 1;
        writeln!(master, "say {number}")?;
        let (mut echo, mut answer) = (String::new(), String::new());
        screen.read_line(&mut echo)?;
        screen.read_line(&mut answer)?;
        match (echo.trim_end(), answer.trim_end()) {
            (echo, answer) if echo == format!("say {number}") && answer == number.to_string() => {
                tell(file, answer);
            }
            other => tell(file, &format!("line {number}: {other:?}")),
        }
        pause();
    }
}

/// Sits at its controlling terminal, and says what it was told to.
fn answer(mut terminal: &File) -> std::io::Result<()> {
    setsid()?;
    ioctl_tiocsctty(terminal)?;
    for line in BufReader::new(terminal.try_clone()?).lines() {
        writeln!(terminal, "{}", line?.trim_start_matches("say "))?;
    }
    Ok(())
}
