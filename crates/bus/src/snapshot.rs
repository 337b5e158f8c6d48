//! Saved state.
//!
//! The saved state of a chip is a type of its own, never the live struct: the live struct may change, the saved one may
//! not. A change of the saved form makes a new version; the old struct stays and is converted.

use serde::{Serialize, de::DeserializeOwned};

/// Why a saved state was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("state of {chip} has version {found}, this build reads {known}")]
    Version { chip: &'static str, found: u16, known: u16 },
    #[error("state of {chip} is damaged: {what}")]
    Damaged { chip: &'static str, what: &'static str },
}

/// Saves and restores. The format is the snapshot container's affair (serde data model).
pub trait Snapshot {
    /// Section name in a snapshot.
    const NAME: &'static str;
    /// Version of [`Snapshot::State`].
    const VERSION: u16;
    type State: Serialize + DeserializeOwned;

    fn save(&self) -> Self::State;
    /// Replaces the state. A state from a file may hold any values: those that the chip cannot have are refused, and a
    /// refused restore leaves the device as it was.
    fn restore(&mut self, state: Self::State) -> Result<(), RestoreError>;
}

/// Declares a chip's saved state once: the struct, and a `Snapshot` that copies each field from and to the field of the
/// same name in the live struct. The optional `check` gives what is wrong with a state, if anything is.
///
/// ```
/// struct Chip { a: u8, wiring: u8 }
/// bus::saved_state! {
///     /// Version 1.
///     pub struct State for Chip as "chip" version 1 { a: u8 }
///     check |s| if s.a > 7 { Some("a") } else { None }
/// }
/// # use bus::Snapshot;
/// let mut c = Chip { a: 3, wiring: 1 };
/// let s = c.save();
/// c.a = 0;
/// c.restore(s).unwrap();
/// assert_eq!(c.a, 3);
/// assert!(c.restore(State { a: 8 }).is_err());
/// # assert_eq!(c.wiring, 1);
/// ```
#[macro_export]
macro_rules! saved_state {
    ($(#[$doc:meta])* $vis:vis struct $state:ident for $chip:ty as $name:literal version $version:literal
     { $($field:ident : $ty:ty),* $(,)? } $(check |$s:ident| $check:expr)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "::bus::serde")]
        $vis struct $state { $(pub $field: $ty),* }

        impl $crate::Snapshot for $chip {
            const NAME: &'static str = $name;
            const VERSION: u16 = $version;
            type State = $state;

            fn save(&self) -> $state {
                $state { $($field: self.$field.clone()),* }
            }

            fn restore(&mut self, state: $state) -> Result<(), $crate::RestoreError> {
                $({
                    let $s = &state;
                    let what: Option<&'static str> = $check;
                    if let Some(what) = what {
                        return Err($crate::RestoreError::Damaged { chip: $name, what });
                    }
                })?
                $(self.$field = state.$field;)*
                Ok(())
            }
        }
    };
}
