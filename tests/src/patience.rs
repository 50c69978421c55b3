//! How long a test waits before it takes something to hang, or to be too slow.
//!
//! Kind: effect (reads the environment). An emulated machine is ten times slower than the one
//! that the times in tests are for: whoever runs them there says so in `CRUX_PATIENCE`.

use std::time::Duration;

/// So many seconds of a usual machine.
pub fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("CRUX_PATIENCE").ok();
    let factor = factor.and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds * factor)
}
