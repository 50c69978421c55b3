//! Network namespaces of a container: what is in them, and what of that cannot be restored.
//!
//! `route` (effect) asks the kernel by rtnetlink(7), `message` (pure) takes its answers apart, `devices`
//! and `entries` (pure) make records of them, or say by name what is in the way; `sysctls` (effect) reads
//! `/proc/sys/net`; `look` (effect) goes from namespace to namespace.

mod devices;
mod entries;
mod filters;
mod look;
mod message;
mod route;
mod sysctls;

pub(crate) use look::{Visit, look, settings};
pub(crate) use sysctls::{Values, of_new as settings_of_new};

use crate::judge::NamespaceId;
use crux_image::tasks::Network;
use serde::{Deserialize, Serialize};

/// A network namespace, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenNetwork {
    /// Which.
    pub id: NamespaceId,
    /// What is in it. Where it names a namespace, that is a position among those that were found.
    pub network: Network,
    /// What cannot be restored, in words that go on from "is in a network namespace with".
    pub obstacles: Vec<String>,
}
