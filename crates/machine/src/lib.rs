mod clock;
pub mod load;
pub use clock::HostTime;
