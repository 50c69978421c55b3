//! The modules of a kernel that the tests need, in the order in which they load.
//!
//! Kind: pure but for [`Tree::read`] and what it decompresses. modules.dep is made when a
//! package is installed, which ours are not: dependencies are read from the modules.

use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File systems and sockets that the tests mount, make or ask about.
const WANTED: [&str; 19] = [
    "overlay",
    "fuse",
    "autofs4",
    "binfmt_misc",
    "configfs",
    "loop",
    "ext4",
    "squashfs",
    "unix_diag",
    "tcp_diag",
    "udp_diag",
    "netlink_diag",
    "af_packet_diag",
    "veth",
    "bridge",
    "dummy",
    "ifb",
    "macvlan",
    "nf_tables",
];

/// A module, decompressed.
#[derive(Debug)]
pub(super) struct Module {
    /// Its name, as the kernel spells it.
    pub(super) name: String,
    /// The object file.
    pub(super) object: Vec<u8>,
}

/// The modules that a kernel has.
struct Tree {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// The wanted modules of a kernel and what they need, what is needed first.
/// Those that it does not have are named.
pub(super) fn wanted(directory: &Path) -> Result<Vec<Module>> {
    let tree = Tree::read(directory)?;
    let mut loaded = BTreeSet::new();
    let mut order = Vec::new();
    for name in WANTED {
        if !tree.has(name) {
            eprintln!("this kernel has no {name}: what needs it fails");
            continue;
        }
        load(&tree, name, &mut loaded, &mut order)?;
    }
    Ok(order)
}

fn load(
    tree: &Tree,
    name: &str,
    loaded: &mut BTreeSet<String>,
    order: &mut Vec<Module>,
) -> Result<()> {
    if tree.built_in.contains(name) || !loaded.insert(name.to_owned()) {
        return Ok(());
    }
    let path = tree.files.get(name);
    let object = decompressed(path.with_context(|| format!("there is no module {name}"))?)?;
    for needed in dependencies(&object) {
        load(tree, &needed, loaded, order)?;
    }
    order.push(Module {
        name: name.to_owned(),
        object,
    });
    Ok(())
}

impl Tree {
    fn read(directory: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut open = vec![directory.join("kernel")];
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(&at).with_context(|| format!("{}", at.display()))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else if let Some(name) = module_name(&entry.path()) {
                    files.insert(name, entry.path());
                }
            }
        }
        let list = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
        let built_in = list.lines().filter_map(|line| module_name(Path::new(line)));
        Ok(Self {
            files,
            built_in: built_in.collect(),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.built_in.contains(name) || self.files.contains_key(name)
    }
}

/// The name of a module by that of its file: a dash there is an underscore.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, _) = name.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

/// What the section .modinfo says: `depends=A,B`, ended by a zero byte.
fn dependencies(object: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = object.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let value = object[start + KEY.len()..].split(|&byte| byte == 0).next();
    let names = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

fn decompressed(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("{}", path.display())),
    };
    let output = Command::new(program).arg("-dc").arg(path).output();
    let output = output.with_context(|| format!("failed to start {program}"))?;
    if !output.status.success() {
        bail!("{program} -dc {}: {}", path.display(), output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_end_at_the_zero_byte() {
        let object = b"ELF\0license=GPL\0depends=mbcache,crc32c-generic\0name=ext4\0";
        assert_eq!(dependencies(object), ["mbcache", "crc32c_generic"]);
        assert!(dependencies(b"\0depends=\0name=fuse\0").is_empty());
        assert!(dependencies(b"\0depends=").is_empty());
        assert!(dependencies(b"").is_empty());
    }

    #[test]
    fn a_module_is_named_by_its_file() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("kernel/fs/fuse/fuse.ko"), Some("fuse".into()));
        assert_eq!(name("a/af-packet.ko.xz"), Some("af_packet".into()));
        assert_eq!(name("a/modules.dep"), None);
    }
}
