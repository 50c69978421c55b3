//! What is installed, by whatever way: the executables, who may start them, and the
//! capabilities that they get.
//!
//! Kind: pure. The capabilities are those of their roles; nobody else lists them.

use crux_dump::roles::spec as dump;
use crux_restore::roles::spec as restore;

/// Who may dump and restore.
pub(crate) const GROUP: &str = "crux";

/// One of them.
pub(crate) struct Executable {
    pub(crate) name: &'static str,
    /// As setcap(8) takes them; none where anybody may start it, without privilege.
    pub(crate) capabilities: Option<String>,
}

/// All of them.
pub(crate) fn all() -> [Executable; 3] {
    let with = |name, lists: &[&[crux_role::Capability]]| Executable {
        name,
        capabilities: Some(crux_role::file_capabilities(lists.iter().copied())),
    };
    [
        with("crux-dump", &dump::INSTALLED),
        with("crux-restore", &restore::INSTALLED),
        Executable {
            name: "crux-image",
            capabilities: None,
        },
    ]
}

impl Executable {
    /// Of its file.
    pub(crate) fn mode(&self) -> u32 {
        match self.capabilities {
            Some(_) => 0o750,
            None => 0o755,
        }
    }
}
