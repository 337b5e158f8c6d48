mod acpi;
mod clock;
pub mod load;
mod map;
pub use clock::HostTime;
