//! What makes regions better, one file each.

mod dead;
mod keep;
mod share;

pub use dead::dead;
pub use keep::keep;
pub use share::share;

use crate::Region;

/// All of them, in the order in which they serve each other. `sharing`: probes may be shared; `keeping`: loops may keep pages.
pub fn all(region: &mut Region, sharing: bool, keeping: bool) {
    dead(region);
    if sharing {
        share(region);
    }
    if keeping {
        keep(region);
    }
}
