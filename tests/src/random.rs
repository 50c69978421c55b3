//! Random sequences of mount operations, the same for the same seed.
//!
//! Kind: effect. An operation that the kernel refuses changes nothing and is
//! part of the game; the tables that come out are all possible ones.

use crate::mounting::{self, Depth, Kind};
use anyhow::Result;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where things are mounted, from the container's root. Each is a directory in
/// the root and in every tmpfs, so that mounts nest.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// An operation; places are relative to the container's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A new tmpfs.
    Tmpfs(String),
    /// A bind, or a recursive one.
    Bind(String, String, Depth),
    /// MS_MOVE
    Move(String, String),
    /// A change of propagation.
    Propagation(String, Kind, Depth),
    /// A change of attributes.
    Attributes(String, &'static str),
    /// Takes the topmost mount away.
    Detach(String),
}

/// splitmix64: short, and good enough to choose operations.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        let at = self.next() % values.len() as u64;
        values[usize::try_from(at).unwrap_or(0)].clone()
    }

    fn place(&mut self) -> String {
        let depth = self.of(&[1, 1, 2, 2, 3]);
        let names: Vec<&str> = (0..depth).map(|_| self.of(&NAMES)).collect();
        names.join("/")
    }

    fn depth(&mut self) -> Depth {
        self.of(&[Depth::One, Depth::Tree])
    }

    fn operation(&mut self) -> Operation {
        let kinds = [
            Kind::Shared,
            Kind::Shared,
            Kind::Slave,
            Kind::Private,
            Kind::Unbindable,
        ];
        let attributes = [
            "ro,relatime",
            "rw,nosuid,nodev,relatime",
            "rw,noexec,noatime",
        ];
        match self.next() % 16 {
            0..4 => Operation::Tmpfs(self.place()),
            4..9 => Operation::Bind(self.place(), self.place(), self.depth()),
            9 => Operation::Move(self.place(), self.place()),
            10..13 => Operation::Propagation(self.place(), self.of(&kinds), self.depth()),
            13 => Operation::Attributes(self.place(), self.of(&attributes)),
            _ => Operation::Detach(self.place()),
        }
    }
}

/// The operations of a seed.
pub fn operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut dice = Dice(seed);
    (0..count).map(|_| dice.operation()).collect()
}

/// Makes the directories that [`run`] mounts on.
pub fn prepare(root: &Path) -> Result<()> {
    for (a, b, c) in triples() {
        fs::create_dir_all(root.join(a).join(b).join(c))?;
    }
    Ok(())
}

fn triples() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let pairs = NAMES.iter().flat_map(|a| NAMES.iter().map(move |b| (a, b)));
    pairs.flat_map(|(a, b)| NAMES.iter().map(move |c| (*a, *b, *c)))
}

/// Runs the operations in the calling process's namespace. Gives those that the
/// kernel took.
pub fn run(root: &Path, operations: &[Operation]) -> Vec<Operation> {
    let taken = operations
        .iter()
        .filter(|operation| operation.run(root).is_ok());
    taken.cloned().collect()
}

impl Operation {
    fn run(&self, root: &Path) -> Result<()> {
        let at = |place: &String| -> PathBuf { root.join(place) };
        match self {
            Self::Tmpfs(place) => {
                mounting::new("tmpfs", "random", &at(place), "rw,relatime", "size=1m")?;
                prepare(&at(place))
            }
            Self::Bind(from, to, depth) => mounting::bind(&at(from), &at(to), *depth),
            Self::Move(from, to) => mounting::relocate(&at(from), &at(to)),
            Self::Propagation(place, kind, depth) => {
                mounting::propagation(&at(place), *kind, *depth)
            }
            Self::Attributes(place, words) => mounting::attributes(&at(place), words),
            Self::Detach(place) => mounting::detach(&at(place)),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tmpfs(at) => write!(f, "mount -t tmpfs random {at}"),
            Self::Bind(from, to, Depth::One) => write!(f, "mount --bind {from} {to}"),
            Self::Bind(from, to, Depth::Tree) => write!(f, "mount --rbind {from} {to}"),
            Self::Move(from, to) => write!(f, "mount --move {from} {to}"),
            Self::Propagation(at, kind, depth) => write!(f, "make {kind:?} {depth:?} {at}"),
            Self::Attributes(at, words) => write!(f, "mount -o remount,bind,{words} {at}"),
            Self::Detach(at) => write!(f, "umount -l {at}"),
        }
    }
}
