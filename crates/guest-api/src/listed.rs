//! Types of few values, each of which has a name in texts: what the text form of translated code is made of.

/// A type whose values can be listed and named.
pub trait Listed: Copy {
    /// Every value.
    fn list() -> Vec<Self>;
    /// The value's name in lower case, its parts separated by dots; `field` is the name of what has the value.
    fn label(self, field: &str) -> String;
}

/// The field's name where it is set, nothing where it is not.
impl Listed for bool {
    fn list() -> Vec<bool> {
        vec![false, true]
    }
    fn label(self, field: &str) -> String {
        if self { field.to_string() } else { String::new() }
    }
}

/// `parts`, those that are not empty, separated by dots.
pub fn dotted(parts: &[String]) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
    parts.join(".")
}

/// Declares enums as they stand and makes them [`Listed`]. What a variant holds must be so too.
macro_rules! listed {
    ($($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident $(($inner:ident))? $(= $value:literal)?),* $(,)? })*) => { $(
        $(#[$meta])*
        pub enum $name { $($(#[$vmeta])* $variant $(($inner))? $(= $value)?,)* }

        impl $crate::Listed for $name {
            fn list() -> Vec<$name> {
                [$($crate::listed::listed!(@values $name $variant $($inner)?)),*].concat()
            }
            fn label(self, _: &str) -> String {
                match self {
                    $($crate::listed::listed!(@pattern $name $variant held $($inner)?) => {
                        $crate::listed::listed!(@name $variant held $($inner)?)
                    })*
                }
            }
        }
    )* };
    (@values $name:ident $variant:ident) => { vec![$name::$variant] };
    (@values $name:ident $variant:ident $inner:ident) => {
        <$inner as $crate::Listed>::list().into_iter().map($name::$variant).collect()
    };
    (@pattern $name:ident $variant:ident $held:ident) => { $name::$variant };
    (@pattern $name:ident $variant:ident $held:ident $inner:ident) => { $name::$variant($held) };
    (@name $variant:ident $held:ident) => { stringify!($variant).to_lowercase() };
    (@name $variant:ident $held:ident $inner:ident) => {
        $crate::dotted(&[stringify!($variant).to_lowercase(), $crate::Listed::label($held, "")])
    };
}
pub(crate) use listed;
