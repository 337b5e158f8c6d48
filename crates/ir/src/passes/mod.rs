//! What makes regions better, one file each.

mod dead;
mod keep;
mod share;

pub use dead::dead;
pub use keep::keep;
pub use share::share;

use crate::Region;

/// All of them, in the order in which they serve each other. `apart`: probes may be shared, but not those of [`share`]'s `apart`; `keeping`:
/// loops may keep pages.
pub fn all(region: &mut Region, apart: Option<&[i64]>, keeping: bool) {
    dead(region);
    if let Some(apart) = apart {
        share(region, apart);
    }
    if keeping {
        keep(region);
    }
}
