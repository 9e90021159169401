//! Constructors are `const`, except under loom, whose atomics are made at run time.

macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty $body:block) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        #[must_use]
        $vis const fn $name($($arg: $ty),*) -> $out $body

        $(#[$meta])*
        #[cfg(loom)]
        #[must_use]
        $vis fn $name($($arg: $ty),*) -> $out $body
    };
}

pub(crate) use const_unless_loom;
