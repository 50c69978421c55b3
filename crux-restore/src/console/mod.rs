//! Who has the masters of a container's terminals: whoever is at a socket, or a broker.
//!
//! Kind: pure in what decides which terminal goes where, effect where it is done. `socket` hands masters over, `broker` is the process that keeps
//! the others, `relay` what it does for as long as the container lives.

pub(crate) mod broker;
mod relay;
pub(crate) mod socket;

use crate::cli::{Options, Way};
use crate::failure::{Exit, Failure, OrExit as _};
use crate::files::Held;
use crate::roles::message::{Answer, SMALL, bound};
use crate::roles::spec;
use crate::tasks::wanted::{Kept, Made};
use broker::Told;
use crux_role::Role;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use socket::Sockets;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What there is of this program's own for terminals.
pub(crate) struct Consoles {
    pub(crate) sockets: Sockets,
    pub(crate) broker: Broker,
    pub(crate) held: Held,
}

impl Consoles {
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// Has the broker make its ways in.
    pub(crate) fn open(&mut self, options: &Options, kept: &[Kept]) -> Result<(), Failure> {
        let ways = keepers(options, kept)
            .into_iter()
            .filter_map(|it| match it {
                Keeper::Broker(way) => Some(way),
                Keeper::Socket(_) => None,
            });
        self.broker.open(ways.collect())
    }

    /// Gives the masters to whom they are for. Those that tasks have are theirs alone from now on.
    pub(crate) fn give_away(
        &mut self,
        options: &Options,
        kept: &[Kept],
        mut made: Vec<(Made, OwnedFd)>,
        first: u32,
    ) -> Result<(), Failure> {
        let mut masters = Vec::new();
        for (it, keeper) in kept.iter().zip(keepers(options, kept)) {
            let at = made.iter().position(|(known, _)| *known == it.made);
            let at = at.ok_or_else(|| {
                let name = &it.name;
                Failure::new(
                    Exit::Undone,
                    format_args!("keep the terminal {name}: it is not there"),
                )
            })?;
            let (_, master) = made.swap_remove(at);
            match keeper {
                Keeper::Socket(at) => self.sockets.send(at, &it.name, master.as_fd())?,
                Keeper::Broker(_) => masters.push(master),
            }
        }
        self.broker.keep(masters, first)
    }

    /// The tasks live.
    pub(crate) fn leave(self) {
        self.broker.leave();
    }
}

/// The broker's process.
pub(crate) struct Broker {
    role: Option<Role>,
    keeps: bool,
}

impl Broker {
    /// Starts it, before an image is open.
    pub(crate) fn start(patience: Duration) -> Result<Self, Failure> {
        let spec = spec::broker(patience).or_exit(Exit::Undone)?;
        let role = Role::start(spec, broker::work).or_exit(Exit::Undone)?;
        let mut broker = Self {
            role: Some(role),
            keeps: false,
        };
        broker.role()?.ready().or_exit(Exit::Undone)?;
        Ok(broker)
    }

    fn role(&mut self) -> Result<&mut Role, Failure> {
        let gone = || Failure::new(Exit::Undone, "let the broker do its work: it has ended");
        self.role.as_mut().ok_or_else(gone)
    }

    fn tell(&mut self, told: &Told, files: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        let role = self.role()?;
        role.send(told, files).or_exit(Exit::Undone)?;
        let answer = role.receive::<Answer<()>>(bound(SMALL, 0));
        answer.or_exit(Exit::Undone)?.0.map_err(Failure::from)
    }

    /// Nobody is waited for where there is no terminal.
    fn open(&mut self, ways: Vec<Option<PathBuf>>) -> Result<(), Failure> {
        match ways.is_empty() {
            true => {
                self.end();
                Ok(())
            }
            false => self.tell(&Told::Open(ways), &[]),
        }
    }

    fn keep(&mut self, masters: Vec<OwnedFd>, first: u32) -> Result<(), Failure> {
        if masters.is_empty() {
            self.end();
            return Ok(());
        }
        let pid = i32::try_from(first).ok().and_then(Pid::from_raw);
        let process = pid.ok_or(Errno::SRCH);
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let process = process.map_err(|errno| {
            let cause = std::io::Error::from(errno);
            Failure::new(
                Exit::Undone,
                format_args!("keep terminals: pidfd_open: {cause}"),
            )
        })?;
        let files = masters.iter().chain([&process]).map(|fd| fd.as_fd());
        let files: Vec<_> = files.collect();
        self.tell(&Told::Keep, &files)?;
        self.keeps = true;
        Ok(())
    }

    fn leave(mut self) {
        if let Some(role) = self.role.take() {
            role.leave();
        }
    }

    /// It takes away what it has made. Once it keeps terminals, it ends with the first task.
    fn end(&mut self) {
        let Some(mut role) = self.role.take() else {
            return;
        };
        if self.keeps || role.send(&Told::End, &[]).is_ok() {
            role.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Who has the master of a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// Who listens at this `--console-socket`, by its position.
    Socket(usize),
    /// The broker, with a way in if it was asked for.
    Broker(Option<PathBuf>),
}

/// Whether the command line speaks of terminals that there are.
pub(crate) fn check(options: &Options, kept: &[Kept]) -> Result<(), String> {
    let known: Vec<_> = kept.iter().map(|it| it.name.as_str()).collect();
    let ways = || options.console_socket.iter().chain(&options.console_broker);
    for name in ways().filter_map(|way| way.name.as_deref()) {
        if !known.contains(&name) {
            let known = match known.is_empty() {
                true => "no terminal that is to be given away".to_owned(),
                false => known.join(", "),
            };
            return Err(format!(
                "give away the terminal {name:?}: the image has {known}"
            ));
        }
    }
    if ways().any(|way| way.name.is_none()) && kept.is_empty() {
        return Err(
            "give terminals away: the image has none whose other end was outside".to_owned(),
        );
    }
    let unnamed = |ways: &[Way]| ways.iter().filter(|way| way.name.is_none()).count();
    let sockets = unnamed(&options.console_socket);
    if sockets > 0 && !kept.iter().any(|it| it.console) {
        let hint = "name the terminal with --console-socket NAME=SOCKET";
        return Err(format!("hand the console over: the image has none; {hint}"));
    }
    match sockets > 1 || unnamed(&options.console_broker) > 1 {
        true => Err("give terminals away: two options are for all of them".to_owned()),
        false => Ok(()),
    }
}

/// Of each terminal.
pub(crate) fn keepers(options: &Options, kept: &[Kept]) -> Vec<Keeper> {
    let mut taken = HashSet::new();
    let each = kept.iter();
    each.map(|it| keeper(options, it, &mut taken)).collect()
}

fn keeper(options: &Options, kept: &Kept, taken: &mut HashSet<PathBuf>) -> Keeper {
    let named = |way: &Way| way.name.as_ref() == Some(&kept.name);
    let console = |way: &Way| kept.console && way.name.is_none();
    let sockets = &options.console_socket;
    if let Some(at) = sockets.iter().position(named) {
        return Keeper::Socket(at);
    }
    if let Some(way) = options.console_broker.iter().find(|way| named(way)) {
        return Keeper::Broker(Some(way.socket.clone()));
    }
    if let Some(at) = sockets.iter().position(console) {
        return Keeper::Socket(at);
    }
    let all = options.console_broker.iter().find(|way| way.name.is_none());
    Keeper::Broker(all.map(|way| match kept.console {
        true => way.socket.clone(),
        false => beside(&way.socket, &kept.name, taken),
    }))
}

/// TRUST: a name comes from the image. What is left of it can be in no other directory.
fn beside(socket: &Path, name: &str, taken: &mut HashSet<PathBuf>) -> PathBuf {
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let label: String = last.chars().take(32).map(plain).collect();
    let with = |end: String| {
        let mut path = OsString::from(socket);
        path.push(end);
        PathBuf::from(path)
    };
    let numbers = (1..).map(|number| match number {
        1 => with(format!(".{label}")),
        _ => with(format!(".{label}_{number}")),
    });
    let mut free = numbers.filter(|path| !taken.contains(path));
    let path = free.next().unwrap_or_default();
    taken.insert(path.clone());
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::wanted::Made;

    fn kept(name: &str, console: bool) -> Kept {
        Kept {
            made: Made::Unmounted(0),
            name: name.into(),
            console,
        }
    }

    fn way(name: Option<&str>, socket: &str) -> Way {
        Way {
            name: name.map(str::to_owned),
            socket: socket.into(),
        }
    }

    #[test]
    fn terminals_go_where_they_are_asked_for_and_the_rest_to_a_broker() {
        let all = [
            kept("/dev/console", true),
            kept("/dev/tty1", false),
            kept("/x/../tty1", false),
        ];
        let mut options = Options::for_image(Path::new("i"));
        let broker = |path: &str| Keeper::Broker(Some(path.into()));
        assert_eq!(keepers(&options, &all), vec![Keeper::Broker(None); 3]);
        options.console_broker = vec![way(None, "/run/s")];
        let wanted = [
            broker("/run/s"),
            broker("/run/s.tty1"),
            broker("/run/s.tty1_2"),
        ];
        assert_eq!(keepers(&options, &all), wanted);
        options.console_socket = vec![way(None, "/run/c")];
        options.console_broker = vec![way(Some("/dev/tty1"), "/run/t")];
        let wanted = [Keeper::Socket(0), broker("/run/t"), Keeper::Broker(None)];
        assert_eq!(keepers(&options, &all), wanted);
        assert_eq!(check(&options, &all), Ok(()));
        let said = check(&options, &all[..1]).unwrap_err();
        assert!(said.contains("/dev/tty1"), "{said}");
        assert!(check(&options, &[]).is_err());
    }
}
