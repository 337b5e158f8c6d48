//! Linux's error numbers, which 9P2000.L carries as they are: those of `asm-generic/errno.h`, whatever the host's are.

use std::fmt;

/// An error as the guest sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub u32);

/// What every operation returns.
pub type Result<T> = std::result::Result<T, Errno>;

macro_rules! errnos {
    ($($name:ident = $n:literal,)*) => {
        impl Errno {
            $(pub const $name: Self = Self($n);)*

            /// All of them, by name.
            pub const ALL: &[(&str, Self)] = &[$((stringify!($name), Self($n))),*];
        }

        impl fmt::Debug for Errno {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                match self.0 { $($n => f.write_str(stringify!($name)),)* n => write!(f, "errno {n}") }
            }
        }
    };
}

errnos! {
    EPERM = 1,
    ENOENT = 2,
    EINTR = 4,
    EIO = 5,
    ENXIO = 6,
    E2BIG = 7,
    EBADF = 9,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EBUSY = 16,
    EEXIST = 17,
    EXDEV = 18,
    ENODEV = 19,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    ENFILE = 23,
    EMFILE = 24,
    ETXTBSY = 26,
    EFBIG = 27,
    ENOSPC = 28,
    EROFS = 30,
    EMLINK = 31,
    ERANGE = 34,
    ENAMETOOLONG = 36,
    ENOLCK = 37,
    ENOSYS = 38,
    ENOTEMPTY = 39,
    ELOOP = 40,
    ENODATA = 61,
    EPROTO = 71,
    EBADMSG = 74,
    EOVERFLOW = 75,
    EMSGSIZE = 90,
    EOPNOTSUPP = 95,
    ESTALE = 116,
    EDQUOT = 122,
}
