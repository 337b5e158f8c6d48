//! Accesses and their results.

/// Size of one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    B1 = 1,
    B2 = 2,
    B4 = 4,
    /// Memory-mapped only.
    B8 = 8,
}

impl Width {
    /// 1, 2, 4 or 8.
    pub const fn bytes(self) -> u8 {
        self as u8
    }

    /// All ones in this width.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self as u32)
    }

    /// The width of `n` bytes, if there is one.
    pub const fn of(n: usize) -> Option<Self> {
        match n {
            1 => Some(Self::B1),
            2 => Some(Self::B2),
            4 => Some(Self::B4),
            8 => Some(Self::B8),
            _ => None,
        }
    }
}

/// One access in the 64 KiB I/O port space. Never [`Width::B8`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PioAccess {
    /// The absolute port number.
    pub port: u16,
    pub width: Width,
}

impl PioAccess {
    pub const fn new(port: u16, width: Width) -> Self {
        Self { port, width }
    }
}

/// One access to memory-mapped registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioAccess {
    /// Byte offset from the start of the device's region.
    pub offset: u64,
    pub width: Width,
}

impl MmioAccess {
    pub const fn new(offset: u64, width: Width) -> Self {
        Self { offset, width }
    }
}

/// What was wrong with an access; the bus decides what the guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// Nothing answers at this address.
    #[error("no device")]
    NoDevice,
    /// The device has no such register, or not in this direction.
    #[error("no such register")]
    Register,
    /// The register exists but not in this width. Returned before any side effect: the bus may split the access.
    #[error("register not accessible in this width")]
    Width,
    /// The address is not a multiple of what the register needs.
    #[error("unaligned access")]
    Unaligned,
    /// A write of a value that the data sheet reserves.
    #[error("reserved value")]
    Reserved,
}

/// Names a request to the host that has not completed; handed out by a device, opaque to all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

/// Outcome of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum IoResult<T> {
    /// Done.
    Ok(T),
    /// Refused, with no side effect.
    Bad(IoError),
    /// Cannot be answered before the host completes the request; the CPU parks and repeats the access afterwards.
    Wait(Token),
}

impl<T> IoResult<T> {
    /// The value of a completed access.
    pub fn ok(self) -> Option<T> {
        match self {
            Self::Ok(v) => Some(v),
            _ => None,
        }
    }

    /// Applies `f` to the value of a completed access.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> IoResult<U> {
        match self {
            Self::Ok(v) => IoResult::Ok(f(v)),
            Self::Bad(e) => IoResult::Bad(e),
            Self::Wait(t) => IoResult::Wait(t),
        }
    }
}

impl<T> From<IoError> for IoResult<T> {
    fn from(e: IoError) -> Self {
        Self::Bad(e)
    }
}
