//! What the operator asked for.
//!
//! Kind: pure.

use crux_image::path::HostPath;

/// The options of the command line that decide what may come from outside.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `--external auto`
    pub undeclared: Undeclared,
    /// `--external NAME=MOUNTPOINT`
    pub declared: Vec<Declared>,
    /// `--external NAME=fd:PID:N`
    pub descriptors: Vec<DeclaredDescriptor>,
    /// `--slave-mount-map SOURCE:TARGET`
    pub slave_maps: Vec<SlaveMap>,
    /// `--replace-bpf`
    pub replaces_programs: bool,
}

/// What to do with an external mount that nothing declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Undeclared {
    /// It is an obstacle.
    #[default]
    Refuse,
    /// It gets the name of its mountpoint.
    NameAfterMountpoint,
}

/// A mount that is external under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The name: printable, without `=`.
    pub name: String,
    /// Its mountpoint, as the process given sees it.
    pub mountpoint: Vec<u8>,
}

/// A descriptor whose file is external under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredDescriptor {
    /// The name: printable, without `=`.
    pub name: String,
    /// Its process, as the container numbers it.
    pub pid: u32,
    /// The descriptor.
    pub number: u32,
}

/// A host mount whose peer group a mount of the container is a slave of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveMap {
    /// A path on the host.
    pub source: HostPath,
    /// The mountpoint in the container.
    pub target: Vec<u8>,
}

/// Why an option was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Neither `auto` nor `NAME=MOUNTPOINT`.
    #[error(
        "expected \"auto\", NAME=MOUNTPOINT with an absolute MOUNTPOINT, or NAME=fd:PID:N with numbers of the container"
    )]
    External,
    /// The name is empty, not printable, or one that means something else.
    #[error("\"{0}\" cannot be a name: it is empty, not printable, \"auto\" or \"root\"")]
    Name(String),
    /// Two declarations with one name.
    #[error("the name \"{0}\" is declared twice")]
    NameTwice(String),
    /// Not `SOURCE:TARGET`.
    #[error("expected SOURCE:TARGET, both absolute paths without \".\" and \"..\"")]
    SlaveMap,
}

impl Policy {
    /// Takes one value of `--external`.
    pub fn external(&mut self, value: &[u8]) -> Result<(), PolicyError> {
        if value == b"auto" {
            self.undeclared = Undeclared::NameAfterMountpoint;
            return Ok(());
        }
        let at = value
            .iter()
            .position(|&b| b == b'=')
            .ok_or(PolicyError::External)?;
        let (name, mountpoint) = (&value[..at], &value[at + 1..]);
        if let Some(place) = mountpoint.strip_prefix(b"fd:") {
            let (pid, number) = descriptor(place).ok_or(PolicyError::External)?;
            let name = self.free_name(name)?;
            self.descriptors
                .push(DeclaredDescriptor { name, pid, number });
            return Ok(());
        }
        let mountpoint = HostPath::new(mountpoint)
            .map_err(|_| PolicyError::External)?
            .to_bytes();
        let name = self.free_name(name)?;
        self.declared.push(Declared { name, mountpoint });
        Ok(())
    }

    fn free_name(&self, name: &[u8]) -> Result<String, PolicyError> {
        let name = checked_name(name)?;
        let mounts = self.declared.iter().map(|it| &it.name);
        let mut taken = mounts.chain(self.descriptors.iter().map(|it| &it.name));
        match taken.any(|it| *it == name) {
            true => Err(PolicyError::NameTwice(name)),
            false => Ok(name),
        }
    }

    /// Takes one value of `--slave-mount-map`. A colon in SOURCE is not possible, one in TARGET is.
    pub fn slave_map(&mut self, value: &[u8]) -> Result<(), PolicyError> {
        let at = value
            .iter()
            .position(|&b| b == b':')
            .ok_or(PolicyError::SlaveMap)?;
        let source = HostPath::new(&value[..at]).map_err(|_| PolicyError::SlaveMap)?;
        let target = HostPath::new(&value[at + 1..]).map_err(|_| PolicyError::SlaveMap)?;
        self.slave_maps.push(SlaveMap {
            source,
            target: target.to_bytes(),
        });
        Ok(())
    }
}

/// `PID:N`
fn descriptor(place: &[u8]) -> Option<(u32, u32)> {
    let (pid, number) = std::str::from_utf8(place).ok()?.split_once(':')?;
    Some((pid.parse().ok()?, number.parse().ok()?))
}

fn checked_name(bytes: &[u8]) -> Result<String, PolicyError> {
    let shown = crux_image::path::Escaped(bytes).to_string();
    match std::str::from_utf8(bytes) {
        Ok(name) if name == shown && !matches!(name, "" | "auto" | "root") => Ok(shown),
        _ => Err(PolicyError::Name(shown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let mut policy = Policy::default();
        policy.external(b"auto").unwrap();
        policy.external(b"data=/srv/a=b").unwrap();
        policy.external(b"log=fd:7:3").unwrap();
        assert_eq!(
            (policy.descriptors[0].pid, policy.descriptors[0].number),
            (7, 3)
        );
        policy.slave_map(b"/sys/fs/pstore:/sys/fs/pstore").unwrap();
        assert_eq!(policy.declared[0].mountpoint, b"/srv/a=b");
        for bad in [
            &b"data"[..],
            b"data=srv",
            b"=/srv",
            b"root=/",
            b"a\x1b=/x",
            b"data=/again",
            b"x=/a/../b",
            b"log=/b",
            b"x=fd:7",
            b"x=fd:-1:2",
        ] {
            assert!(policy.external(bad).is_err(), "{bad:?}");
        }
        assert_eq!(policy.slave_map(b"/a"), Err(PolicyError::SlaveMap));
    }
}
