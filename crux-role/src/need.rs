//! What an executable needs capabilities for, and what to say where they are missing.
//!
//! Kind: pure, but for [`lacking`], which asks what is held.

use crate::capabilities::{Capability, Held};
use std::fmt::Write as _;

/// A capability, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Which.
    pub capability: Capability,
    /// Reads well after "needed to".
    pub purpose: &'static str,
    /// What becomes of the work without it.
    pub without: Without,
}

/// What becomes of work that asks for a capability that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// It is not done.
    Nothing,
    /// It is done less well.
    Less,
}

impl Need {
    /// Without it the work is not done.
    pub const fn for_work(capability: Capability, purpose: &'static str) -> Self {
        Self {
            capability,
            purpose,
            without: Without::Nothing,
        }
    }

    /// Without it the work is done less well.
    pub const fn for_more(capability: Capability, purpose: &'static str) -> Self {
        Self {
            capability,
            purpose,
            without: Without::Less,
        }
    }
}

/// Those that the calling process does not hold.
pub fn lacking(needs: impl IntoIterator<Item = Need>) -> Vec<Need> {
    let held = Held::now();
    let needs = needs.into_iter();
    needs.filter(|need| !held.has(need.capability)).collect()
}

/// All that is missing, in one line.
pub fn named(missing: &[Need]) -> String {
    let mut text = "this process lacks ".to_owned();
    for (at, need) in missing.iter().enumerate() {
        let joint = match at {
            0 => "",
            _ if at + 1 == missing.len() => ", and ",
            _ => ", ",
        };
        let Need {
            capability,
            purpose,
            ..
        } = need;
        let _ = write!(text, "{joint}{capability}, which is needed to {purpose}");
    }
    text
}

/// The list as setcap(8) takes it: sorted, each once.
pub fn file_capabilities<'a>(lists: impl IntoIterator<Item = &'a [Capability]>) -> String {
    let all = lists.into_iter().flatten();
    let mut names: Vec<_> = all.map(|one| one.to_string().to_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    format!("{}=ep", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{CAP_CHOWN, CAP_KILL, CAP_SYS_ADMIN};

    #[test]
    fn all_that_is_missing_is_named_with_what_it_is_for() {
        let needs = [
            Need::for_work(CAP_SYS_ADMIN, "make mounts"),
            Need::for_work(CAP_CHOWN, "give files away"),
        ];
        assert_eq!(
            named(&needs),
            "this process lacks CAP_SYS_ADMIN, which is needed to make mounts, and CAP_CHOWN, \
             which is needed to give files away"
        );
    }

    #[test]
    fn file_capabilities_are_listed_once_and_in_order() {
        let lists = [&[CAP_SYS_ADMIN, CAP_CHOWN][..], &[CAP_KILL, CAP_SYS_ADMIN]];
        assert_eq!(
            file_capabilities(lists),
            "cap_chown,cap_kill,cap_sys_admin=ep"
        );
    }
}
