//! Values of messages, little-endian and unaligned: intro(5) of the Plan 9 manual.

/// Takes values from the front of a message.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `n` bytes; `None` if there are fewer.
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A type that messages are made of.
pub trait Field<'a>: Sized {
    /// Takes one; `None` if the message ends before or the value is none.
    fn take(from: &mut Reader<'a>) -> Option<Self>;
    /// Appends it.
    fn put(&self, to: &mut Vec<u8>);
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Field<'_> for $ty {
            fn take(from: &mut Reader) -> Option<Self> {
                from.array().map(Self::from_le_bytes)
            }
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
integers!(u8 u16 u32 u64);

/// `s`: bytes behind their 16-bit count. Linux's names are bytes, not text.
impl<'a> Field<'a> for &'a [u8] {
    fn take(from: &mut Reader<'a>) -> Option<Self> {
        let n = u16::take(from)?;
        from.bytes(n.into())
    }
    fn put(&self, to: &mut Vec<u8>) {
        debug_assert!(self.len() <= u16::MAX.into());
        (self.len() as u16).put(to);
        to.extend_from_slice(self);
    }
}

/// Bytes behind their 32-bit count: what `Twrite` writes, what `Rread` and `Rreaddir` return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Data<'a> {
    fn take(from: &mut Reader<'a>) -> Option<Self> {
        let n = u32::take(from)?;
        from.bytes(n as usize).map(Self)
    }
    fn put(&self, to: &mut Vec<u8>) {
        (self.0.len() as u32).put(to);
        to.extend_from_slice(self.0);
    }
}

/// The greatest number of elements of a walk (`P9_MAXWELEM`).
pub const WALK_MAX: usize = 16;

/// Up to [`WALK_MAX`] values behind their 16-bit count.
impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn take(from: &mut Reader<'a>) -> Option<Self> {
        let n = usize::from(u16::take(from)?);
        if n <= WALK_MAX { (0..n).map(|_| T::take(from)).collect() } else { None }
    }
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u16).put(to);
        self.iter().for_each(|item| item.put(to));
    }
}

/// A structure's fields, one after the other.
macro_rules! fields {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        impl $name {
            /// Names and types of the fields, as data.
            pub const FIELDS: &[(&str, &str)] = &[$((stringify!($field), stringify!($ty))),*];
        }

        impl crate::wire::Field<'_> for $name {
            fn take(from: &mut crate::wire::Reader) -> Option<Self> {
                Some($name { $($field: crate::wire::Field::take(from)?,)* })
            }
            fn put(&self, to: &mut Vec<u8>) {
                $(crate::wire::Field::put(&self.$field, to);)*
            }
        }
    )*};
}
pub(crate) use fields;
