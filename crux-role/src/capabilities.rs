//! Capabilities of the calling process (capabilities(7)).
//!
//! Kind: effect.

pub use caps::Capability;
use caps::{CapSet, CapsHashSet};

/// Capabilities that could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("change capabilities with capset or prctl: {0}")]
pub struct CapsError(#[from] caps::errors::CapsError);

/// What becomes of the bounding, ambient and inheritable sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounding {
    /// They shrink to the list too: nothing is ever executed from here.
    Dropped,
    /// They stay as the caller has them: what is executed from here is the
    /// caller's, and gets what the caller would have given it.
    Callers,
}

/// What the process holds.
#[derive(Debug, Clone)]
pub struct Held(CapsHashSet);

impl Held {
    /// The effective set of the calling process; empty where it cannot be read.
    pub fn now() -> Self {
        Self(caps::read(None, CapSet::Effective).unwrap_or_default())
    }

    /// Whether it holds nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has this one.
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

/// Keeps of all capabilities only those in `keep` that the process holds.
pub fn confine(keep: &[Capability], bounding: Bounding) -> Result<(), CapsError> {
    let mut keep: CapsHashSet = keep.iter().copied().collect();
    let held = caps::read(None, CapSet::Permitted)?;
    caps::set(None, CapSet::Effective, &held)?;
    match bounding {
        Bounding::Dropped => {
            drop_bounding(&keep)?;
            caps::clear(None, CapSet::Ambient)?;
        }
        // An ambient capability has to be permitted as well.
        Bounding::Callers => keep.extend(caps::read(None, CapSet::Ambient)?),
    }
    let kept: CapsHashSet = keep.intersection(&held).copied().collect();
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    match bounding {
        Bounding::Dropped => Ok(caps::clear(None, CapSet::Inheritable)?),
        Bounding::Callers => Ok(()),
    }
}

/// Does `work` without these capabilities, and has those that it had again after.
pub fn without<T>(capabilities: &[Capability], work: impl FnOnce() -> T) -> Result<T, CapsError> {
    let before = caps::read(None, CapSet::Effective)?;
    lower(capabilities)?;
    let result = work();
    caps::set(None, CapSet::Effective, &before)?;
    Ok(result)
}

/// Takes capabilities out of the effective set; [`confine`] puts those that are kept back.
pub fn lower(capabilities: &[Capability]) -> Result<(), CapsError> {
    let mut now = caps::read(None, CapSet::Effective)?;
    now.retain(|capability| !capabilities.contains(capability));
    Ok(caps::set(None, CapSet::Effective, &now)?)
}

/// Without SETPCAP the bounding set cannot shrink. It limits what execve(2) gains, and
/// a role executes nothing and has `no_new_privs`.
fn drop_bounding(keep: &CapsHashSet) -> Result<(), CapsError> {
    if !Held::now().has(Capability::CAP_SETPCAP) {
        return Ok(());
    }
    // KERNEL: each that this list has is known since Linux 5.9. To drop what is not there is no error, and takes no more
    // than to look whether it is.
    let all = caps::all();
    let mut dropped = all.difference(keep);
    Ok(dropped.try_for_each(|capability| caps::drop(None, CapSet::Bounding, *capability))?)
}
