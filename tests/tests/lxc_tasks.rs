//! Containers of LXC with their processes: dumped while they run, which ends them, restored, used, and dumped again.

use anyhow::{Context as _, Result, bail, ensure};

use crux_mount::sys::bpf_attached;
use crux_tests::{
    CGROUP_ROOT, Detached, Lab, Lxc, Running, Setup, Table, busybox_is_up, child_on, children,
    patience,
};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Seconds until something that has to happen is given up.
const PATIENCE: u64 = 30;

fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        ensure!(start.elapsed() < patience(PATIENCE), "{what}: not in time");
        std::thread::yield_now();
    }
    Ok(())
}

/// A process as `/proc/PID/stat` has it.
#[derive(Debug)]
struct Seen {
    session: u32,
    terminal: u32,
    foreground: u32,
}

fn seen(pid: u32) -> Result<Seen> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a stat")?;
    let words: Vec<_> = rest.split(' ').collect();
    let number = |at: usize| words[at].parse().unwrap_or(0);
    Ok(Seen {
        session: number(3),
        terminal: number(4),
        foreground: number(5),
    })
}

/// getty and the shell have terminals that control their sessions, and are in the foreground.
fn has_its_terminals(pid: u32) -> Result<()> {
    ensure!(
        busybox_is_up(pid),
        "somebody is missing: {:?}",
        children(pid)
    );
    for input in ["/dev/tty1", "/dev/console"] {
        let child = child_on(pid, input).context("a child")?;
        let it = seen(child)?;
        ensure!(it.terminal != 0, "{input}: {it:?}");
        ensure!(
            (it.session, it.foreground) == (child, child),
            "{input}: {it:?}"
        );
    }
    Ok(())
}

/// Says lines to a terminal, until it has said what is expected.
fn attach(socket: &Path, lines: &[&str], expected: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("{socket:?}"))?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (mut said, start) = (Vec::new(), Instant::now());
    let mut lines = lines.iter();
    stream.write_all(b"\n")?;
    loop {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) => bail!("the broker has gone"),
            Ok(count) => said.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // It is waiting.
                if let Some(line) = lines.next() {
                    stream.write_all(format!("{line}\n").as_bytes())?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        let text = String::from_utf8_lossy(&said);
        if text.contains(expected) {
            return Ok(());
        }
        ensure!(start.elapsed() < patience(PATIENCE), "it said {text:?}");
    }
}

/// Runs something in the container.
fn enter(pid: u32, command: &[&str]) -> Result<String> {
    let target = pid.to_string();
    let arguments = [&["-t", &target, "-a"], command].concat();
    let output = Running::start(Path::new("/usr/bin/nsenter"), arguments)?.finish()?;
    let output = output.success("nsenter")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Restored {
    first: Detached,
    socket: PathBuf,
}

fn restore(lab: &Lab, images: &Path, name: &str) -> Result<Restored> {
    let (pidfile, socket) = (lab.path("pid"), lab.path(name));
    let pid = format!("--pidfile={}", pidfile.display());
    let broker = format!("--console-broker={}", socket.display());
    let options = ["--external=auto", "--detach", &pid, &broker];
    let output = lab.programs.restore_tasks(images, &options)?.finish()?;
    output.success("crux-restore")?;
    let first = Detached::named(&pidfile)?;
    Ok(Restored { first, socket })
}

impl Restored {
    fn tty1(&self) -> PathBuf {
        let mut path = self.socket.clone().into_os_string();
        path.push(".tty1");
        path.into()
    }

    /// A user does something with it.
    fn works(&self, word: &str) -> Result<()> {
        has_its_terminals(self.first.pid())?;
        let echo = format!("echo {word}$((40+2)); tty");
        attach(&self.socket, &[&echo], &format!("{word}42\r\n/dev/console"))?;
        attach(&self.tty1(), &[], "login:")?;
        enter(self.first.pid(), &["/bin/logger", word])?;
        until("syslogd writes", || {
            let log = enter(
                self.first.pid(),
                &["/bin/busybox", "cat", "/var/log/messages"],
            )?;
            Ok(log.contains(word))
        })
    }

    /// The first process has ended: so do all, and nobody listens any more.
    fn is_gone(&self) -> Result<()> {
        until("the broker ends", || {
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            Ok(!self.socket.exists() && !self.tty1().exists())
        })
    }
}

/// A container that is up, dumped while it runs; then twice restored, used, and ended: by a dump, and by force.
fn lives_on(
    lab: &Lab,
    container: Lxc,
    host: &Table,
    works: impl Fn(&Restored, &str) -> Result<()>,
) -> Result<()> {
    let (first, second) = (lab.path("first"), lab.path("second"));
    let auto = ["--external", "auto"];
    let dumped = lab.programs.dump_tasks(container.pid, &first, &auto)?;
    dumped.success("crux-dump")?;
    container.ended()?;
    let restored = restore(lab, &first, "one")?;
    works(&restored, "first")?;
    let dumped = lab
        .programs
        .dump_tasks(restored.first.pid(), &second, &auto)?;
    dumped.success("crux-dump")?;
    restored.is_gone()?;
    let again = restore(lab, &second, "two")?;
    works(&again, "second")?;
    again.first.end()?;
    again.is_gone()?;
    assert_eq!(&Table::own()?, host, "something is left on the host");
    Ok(())
}

#[test]
fn root_busybox_by_lxc_lives_on_with_its_processes() {
    Lab::test(Setup::ROOT, |lab| {
        set_child_subreaper(Some(getpid()))?;
        let container = Lxc::busybox(lab)?;
        let host = Table::own()?;
        until("the container is up", || Ok(busybox_is_up(container.pid)))?;
        lives_on(lab, container, &host, Restored::works)
    });
}

/// What a user asks a Debian of.
fn systemd_works(pid: u32, word: &str) -> Result<()> {
    let ask = |command: &[&str]| enter(pid, command).map(|said| said.trim().to_owned());
    let state = ask(&["/usr/bin/systemctl", "is-system-running"])?;
    ensure!(state == "running", "{state}");
    ask(&["/usr/bin/logger", word])?;
    until("journald writes", || {
        let journal = ask(&["/usr/bin/journalctl", "--no-pager", "-n", "20"])?;
        Ok(journal.contains(word))
    })?;
    let bus = ask(&["/usr/bin/busctl", "--no-pager", "list"])?;
    ensure!(bus.contains("org.freedesktop.login1"), "{bus}");
    ask(&["/usr/bin/systemctl", "restart", "console-getty"])?;
    let unit = format!("--unit=crux-{word}");
    ask(&[
        "/usr/bin/systemd-run",
        "--wait",
        "--quiet",
        &unit,
        "/bin/true",
    ])?;
    Ok(())
}

/// systemd denies journald every address, by programs that it attaches.
fn programs_of_journald(lab: &Lab) -> Result<usize> {
    const POINTS: [u32; 2] = [0, 1];
    let payload = format!("lxc.payload.{}", lab.name());
    let service = Path::new(CGROUP_ROOT)
        .join("unified")
        .join(payload)
        .join("system.slice/systemd-journald.service");
    let cgroup = fs::File::open(service)?;
    let counts = POINTS.map(|point| bpf_attached(&cgroup, point).map(|all| all.len()));
    Ok(counts
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .sum())
}

#[test]
fn root_debian_with_systemd_by_lxc_lives_on_with_its_processes() {
    Lab::test(Setup::ROOT, |lab| {
        set_child_subreaper(Some(getpid()))?;
        let container = Lxc::systemd(lab)?;
        let host = Table::own()?;
        systemd_works(container.pid, "before")?;
        let programs = programs_of_journald(lab)?;
        lives_on(lab, container, &host, |restored, word| {
            assert_eq!(programs_of_journald(lab)?, programs, "at once");
            systemd_works(restored.first.pid(), word)?;
            assert_eq!(programs_of_journald(lab)?, programs, "it may do more");
            Ok(())
        })
    });
}
