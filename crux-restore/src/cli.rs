//! The command line of crux-restore.
//!
//! Kind: shell. It says what was asked, not whether it makes sense for an image.

use crate::failure::Exit;
use clap::Parser;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bring back what crux-dump has written.
///
/// An image only asks for things of this host; the options below grant them.
/// Without a grant, crux-restore lists what is asked for and stops.
#[derive(Debug, Parser)]
#[command(name = "crux-restore", version, max_term_width = 100)]
pub struct Options {
    /// The image directory.
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    pub images: Option<PathBuf>,
    /// Restore the mount namespaces only, without tasks.
    #[arg(long)]
    pub mounts_only: bool,
    /// Leave once all tasks run, instead of waiting for the first and passing its exit status on.
    #[arg(long, conflicts_with = "mounts_only")]
    pub detach: bool,
    /// Write the number of the first task, as it is here, to FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "mounts_only")]
    pub pidfile: Option<PathBuf>,
    /// Leave all tasks stopped (kill -CONT lets them go on).
    #[arg(long, conflicts_with = "mounts_only")]
    pub leave_stopped: bool,
    /// The container's root directory on this host.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Grant an external source: NAME as the image has it, SOURCE a path on this
    /// host, kernel:TYPE, pty:new for a new terminal, or fd:N for an open file of this program's.
    /// "auto" grants the mounts that the image names, /dev/null, and new terminals; no other open files.
    #[arg(long, value_name = "NAME=SOURCE|auto", value_parser = external)]
    pub external: Vec<External>,
    /// Give the tasks this program's standard streams for stdin, stdout and stderr (and its terminal for that
    /// of the first process). Without --detach those that are no terminals come by themselves.
    #[arg(long, conflicts_with = "mounts_only")]
    pub inherit_stdio: bool,
    /// Hand the master of a terminal over at a socket, as container runtimes want it (SCM_RIGHTS): of the
    /// console, or of the terminal with this name.
    #[arg(long, value_name = "[NAME=]SOCKET", value_parser = way, conflicts_with = "mounts_only")]
    pub console_socket: Vec<Way>,
    /// Make a socket at which programs can attach to a terminal: for the one with this name, or for
    /// all, the console at SOCKET and the others at SOCKET.tty1 and so on.
    #[arg(long, value_name = "[NAME=]SOCKET", value_parser = way, conflicts_with = "mounts_only")]
    pub console_broker: Vec<Way>,
    /// Let tasks be in the cgroup PATH of every hierarchy and in those beneath it, which are made
    /// where they are missing. "--external auto" grants all that the image names.
    #[arg(long, value_name = "PATH", conflicts_with = "mounts_only")]
    pub cgroup: Vec<PathBuf>,
    /// Make the mount at TARGET a slave of the peer group of the host's mount at SOURCE.
    #[arg(long, value_name = "SOURCE:TARGET", value_parser = slave_mount_map)]
    pub slave_mount_map: Vec<SlaveMountMap>,
    /// Keep the restored mount namespace alive as a file that nsenter --mount=FILE can enter.
    #[arg(long, value_name = "FILE", requires = "mounts_only")]
    pub pin: Option<PathBuf>,
    /// Print the plan and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Say which capabilities and kernel features are there, and do nothing else.
    #[arg(long)]
    pub check: bool,
    /// Give up, and undo everything, when one part of the restore takes longer than this.
    /// The default is 120, and more where there is much data.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub time_limit: Option<u64>,
    /// Print what happened as JSON on stdout.
    #[arg(long)]
    pub json: bool,
    /// A command to run inside the restored namespace; its exit status is passed on.
    #[arg(last = true, value_name = "COMMAND", requires = "mounts_only")]
    pub command: Vec<OsString>,
}

impl Options {
    /// A restore of `images` that is granted all that the image names.
    pub fn for_image(images: &Path) -> Self {
        Self {
            images: Some(images.to_owned()),
            mounts_only: true,
            detach: false,
            pidfile: None,
            leave_stopped: false,
            root: Some("/".into()),
            external: vec![External::Auto],
            inherit_stdio: false,
            console_socket: Vec::new(),
            console_broker: Vec::new(),
            cgroup: Vec::new(),
            slave_mount_map: Vec::new(),
            pin: None,
            dry_run: false,
            check: false,
            time_limit: None,
            json: false,
            command: Vec::new(),
        }
    }

    /// The same with the tasks of the image.
    pub fn for_tasks(images: &Path) -> Self {
        Self {
            mounts_only: false,
            ..Self::for_image(images)
        }
    }

    /// Whether standard streams are this program's.
    pub(crate) fn gives_streams(&self) -> bool {
        self.inherit_stdio || !self.detach
    }

    /// Paths of cgroups in which, and beneath which, tasks may be.
    pub(crate) fn granted_cgroups(&self) -> Vec<Vec<u8>> {
        match self.external.contains(&External::Auto) {
            true => vec![b"/".to_vec()],
            false => {
                let paths = self.cgroup.iter();
                paths.map(|it| it.as_os_str().as_bytes().to_vec()).collect()
            }
        }
    }

    /// The image directory, without which there is a usage error or a check.
    pub(crate) fn images(&self) -> &Path {
        self.images.as_deref().unwrap_or(Path::new(""))
    }
}

/// One --external.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// Whatever the image names.
    Auto,
    /// One source.
    Source {
        /// The name in the image.
        name: String,
        /// A path of this host.
        source: PathBuf,
    },
}

/// One --console-socket or --console-broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The terminal, as the image names it; none: as the option says.
    pub name: Option<String>,
    /// A path of this host, absolute.
    pub socket: PathBuf,
}

/// One --slave-mount-map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveMountMap {
    /// A path of this host, on a mount of the master's peer group.
    pub source: PathBuf,
    /// A mountpoint in the container.
    pub target: Vec<u8>,
}

fn external(text: &str) -> Result<External, String> {
    if text == "auto" {
        return Ok(External::Auto);
    }
    // Names hold no "="; a source may.
    match text.split_once('=') {
        Some((name, source)) if !name.is_empty() && !source.is_empty() => Ok(External::Source {
            name: name.to_owned(),
            source: source.into(),
        }),
        _ => Err("expected NAME=SOURCE, or auto".to_owned()),
    }
}

fn way(text: &str) -> Result<Way, String> {
    let (name, socket) = match text.split_once('=') {
        Some((name, socket)) => (Some(name.to_owned()), socket),
        None => (None, text),
    };
    let socket =
        std::path::absolute(socket).map_err(|error| format!("expected a path: {error}"))?;
    Ok(Way { name, socket })
}

fn slave_mount_map(text: &str) -> Result<SlaveMountMap, String> {
    match text.split_once(':') {
        Some((source, target)) if source.starts_with('/') && target.starts_with('/') => {
            Ok(SlaveMountMap {
                source: source.into(),
                target: unescape(target.as_bytes()),
            })
        }
        _ => Err("expected SOURCE:TARGET, two absolute paths".to_owned()),
    }
}

/// A mountpoint may be given as crux prints it, with octal escapes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let value = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match value.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// Help and the version on stdout; what is wrong with a command line on stderr, as
/// an error begins here.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // If stdout is closed there is nobody to help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("Error: {text}"));
    ExitCode::from(Exit::Usage as u8)
}

/// The bytes of an operator's path.
pub(crate) fn bytes(path: &std::path::Path) -> Vec<u8> {
    OsString::from(path).into_vec()
}

/// A path from bytes.
pub(crate) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_split_at_the_first_equals_sign() {
        let source = External::Source {
            name: "a".into(),
            source: "/x=y".into(),
        };
        assert_eq!(external("a=/x=y"), Ok(source));
        assert_eq!(external("auto"), Ok(External::Auto));
        assert!(external("=x").is_err());
        assert!(external("a=").is_err());
    }

    #[test]
    fn ways_in_may_have_a_name() {
        let socket = PathBuf::from("/run/a");
        let named = |name: Option<&str>| Way {
            name: name.map(str::to_owned),
            socket: socket.clone(),
        };
        assert_eq!(way("/run/a"), Ok(named(None)));
        assert_eq!(way("/dev/tty1=/run/a"), Ok(named(Some("/dev/tty1"))));
        assert!(way("").is_err());
    }

    #[test]
    fn targets_may_be_given_as_they_are_printed() {
        assert_eq!(slave_mount_map("/a:/b\\040c").unwrap().target, b"/b c");
        assert!(slave_mount_map("a:/b").is_err());
    }
}
