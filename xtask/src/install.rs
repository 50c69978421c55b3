//! `cargo xtask install`: the executables, with no more privilege than they use.
//!
//! Kind: shell. crux-dump and crux-restore belong to root:crux, mode 0750, with file
//! capabilities; crux-image has none and is anybody's.

use crate::cargo::{Profile, build, succeed};
use crate::executables::{self, Executable, GROUP};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// They go into DIR/bin
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "file capabilities are root's to give: run it as root"
    );
    let bin = install(&build(Profile::Release)?, &options.prefix)?;
    println!(
        "installed in {}; members of group {GROUP} may dump and restore",
        bin.display()
    );
    Ok(())
}

/// Installs the executables in `built`, and says where they are.
fn install(built: &Path, prefix: &Path) -> Result<PathBuf> {
    if !group_exists()? {
        succeed(Command::new("groupadd").args(["--system", GROUP]))?;
    }
    let bin = prefix.join("bin");
    make_directory(&bin).with_context(|| format!("failed to make {}", bin.display()))?;
    for executable in executables::all() {
        place(built, &bin, &executable)?;
    }
    Ok(bin)
}

/// For everybody to go to, whatever the umask is.
fn make_directory(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_directory(above)?;
    }
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn group_exists() -> Result<bool> {
    let found = Command::new("getent").args(["group", GROUP]).output();
    Ok(found.context("failed to start getent")?.status.success())
}

/// Under another name until it is as it has to be: nobody runs it half made.
fn place(built: &Path, bin: &Path, executable: &Executable) -> Result<()> {
    let name = executable.name;
    let built = built.join(name);
    let (new, last) = (bin.join(format!(".{name}.new")), bin.join(name));
    fs::copy(&built, &new).with_context(|| format!("failed to copy {}", built.display()))?;
    if executable.capabilities.is_some() {
        succeed(Command::new("chown").arg(format!("root:{GROUP}")).arg(&new))?;
    }
    fs::set_permissions(&new, fs::Permissions::from_mode(executable.mode()))?;
    // A new owner takes capabilities away, so they come last.
    if let Some(capabilities) = &executable.capabilities {
        succeed(Command::new("setcap").arg(capabilities).arg(&new))?;
    }
    fs::rename(&new, &last).with_context(|| format!("failed to make {}", last.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use crux_role::Capability;
    use crux_tests::mounting::{self, Depth};
    use crux_tests::{Lab, Setup};
    use rustix::io::Errno;
    use std::collections::BTreeSet;
    use std::os::unix::fs::MetadataExt as _;

    /// The lists of roles that an executable is to have the capabilities of; none for crux-image.
    type Lists = Option<&'static [&'static [Capability]]>;

    /// As docs/privileges.md has it.
    const INSTALLED: [(&str, u32, Lists); 3] = [
        ("crux-dump", 0o750, Some(&crux_dump::roles::spec::INSTALLED)),
        (
            "crux-restore",
            0o750,
            Some(&crux_restore::roles::spec::INSTALLED),
        ),
        ("crux-image", 0o755, None),
    ];

    /// An /etc with nothing in it but root, so that the group is made, and not on this machine.
    fn private_etc(lab: &Lab) -> Result<()> {
        let etc = lab.path("etc");
        fs::create_dir(&etc)?;
        fs::write(etc.join("passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(etc.join("group"), "root:x:0:\n")?;
        mounting::bind(&etc, Path::new("/etc"), Depth::One)
    }

    /// Of group crux, in the file itself.
    fn group_number() -> Result<u32> {
        let groups = fs::read_to_string("/etc/group")?;
        let mut lines = groups.lines();
        let number = lines.find_map(|line| line.strip_prefix("crux:x:")?.split(':').next());
        Ok(number
            .with_context(|| format!("no group: {groups}"))?
            .parse()?)
    }

    /// The attribute as the kernel has it (`struct vfs_cap_data` of linux/capability.h, version 2):
    /// setcap wrote it, and is not asked what it wrote.
    fn attribute(lists: &[&[Capability]]) -> Vec<u8> {
        const VERSION_2: u32 = 0x0200_0000;
        const EFFECTIVE: u32 = 1;
        let all = lists.iter().copied().flatten();
        let permitted = all.fold(0, |set, one| set | one.bitmask());
        let [low, high] = [permitted as u32, (permitted >> 32) as u32];
        let words = [VERSION_2 | EFFECTIVE, low, 0, high, 0];
        words.map(u32::to_le_bytes).concat()
    }

    fn capabilities(path: &Path) -> Result<Option<Vec<u8>>> {
        let mut value = [0; 64];
        match rustix::fs::lgetxattr(path, "security.capability", &mut value) {
            Ok(length) => Ok(Some(value[..length].to_vec())),
            Err(Errno::NODATA) => Ok(None),
            Err(error) => bail!("lgetxattr({}): {error}", path.display()),
        }
    }

    fn names(directory: &Path) -> Result<BTreeSet<String>> {
        let entries = fs::read_dir(directory)?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn is_as_documented(built: &Path, bin: &Path) -> Result<()> {
        let group = group_number()?;
        ensure!(group != 0, "the group is root's");
        for (name, mode, lists) in INSTALLED {
            let path = bin.join(name);
            let found = fs::symlink_metadata(&path).with_context(|| name.to_owned())?;
            ensure!(found.is_file(), "{name} is no file");
            let shown = |mode, uid, gid| format!("{mode:04o} {uid}:{gid}");
            let seen = shown(found.mode() & 0o7777, found.uid(), found.gid());
            let wanted = shown(mode, 0, lists.map_or(0, |_| group));
            ensure!(seen == wanted, "{name}: {seen}, not {wanted}");
            let (seen, wanted) = (capabilities(&path)?, lists.map(attribute));
            ensure!(
                seen == wanted,
                "{name}: capabilities {seen:02x?}, not {wanted:02x?}"
            );
            let same = fs::read(&path)? == fs::read(built.join(name))?;
            ensure!(same, "{name} is not what was built");
        }
        Ok(())
    }

    #[test]
    fn root_what_is_installed_belongs_to_the_group_and_has_what_the_roles_hold_together() {
        Lab::test(Setup::ROOT, |lab| {
            private_etc(lab)?;
            let built = lab.programs.image.parent().context("no directory")?;
            let prefix = lab.path("prefix");
            let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            // The second time there is the group, and each file is replaced.
            for time in ["once", "twice"] {
                let bin = install(built, &prefix).context(time)?;
                is_as_documented(built, &bin).context(time)?;
                let expected = INSTALLED.map(|(name, ..)| name.to_owned()).into();
                ensure!(names(&bin)? == expected, "{time}: {:?}", names(&bin)?);
                ensure!(names(&prefix)? == ["bin".to_owned()].into());
                for directory in [&prefix, &bin] {
                    let mode = fs::metadata(directory)?.mode();
                    ensure!(mode & 0o777 == 0o755, "{}: {mode:o}", directory.display());
                }
            }
            rustix::process::umask(before);
            Ok(())
        });
    }
}
