//! What makes regions better, one file each.

mod dead;
mod share;

pub use dead::dead;
pub use share::share;

use crate::Region;

/// All of them, in the order in which they serve each other. `sharing`: probes may be shared.
pub fn all(region: &mut Region, sharing: bool) {
    dead(region);
    if sharing {
        share(region);
    }
}
