//! How the types of this crate say what they stand for in C, so that the tests can compare both.
//!
//! [`wire!`](crate::describe) declares a structure, `constants!` a group of numbers and `flags!` a word of flags.
//! Each writes the type once and derives from that one text both the Rust item and the table that
//! `tests/layout` compares with what the C compiler makes of the public headers.

use crate::compat::CompatLayout;

/// One field of a wire structure, as Rust lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The Rust name; fields whose name starts with `pad` have no counterpart that is compared.
    pub name: &'static str,
    /// The C member (a path such as `u.ref` where Rust has no nested structure), empty if it is [`Self::name`], or
    /// `-` if it cannot be compared (bit fields).
    pub c_path: &'static str,
    /// Distance from the start of the structure, in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
    /// Distance from the start of the structure for a 32-bit caller, in bytes.
    pub compat_offset: usize,
    /// How a 32-bit caller lays it out; no elements for padding.
    pub compat: CompatLayout,
}

/// A structure that crosses between a guest and the hypervisor.
pub trait WireStruct {
    /// The C type, such as `struct evtchn_send`.
    const C_NAME: &'static str;
    /// Size in bytes.
    const SIZE: usize;
    /// Every field, in order.
    const FIELDS: &'static [Field];
}

/// One number of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// The Rust name, with the C prefix before it where Rust leaves that out.
    pub name: &'static str,
    /// The C expression, or empty if it is [`Self::name`] but for upper and lower case.
    pub c_expression: &'static str,
    /// The value.
    pub value: i128,
}

/// The numbers of one module.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The module's path.
    pub module: &'static str,
    /// Its numbers.
    pub constants: &'static [Constant],
}

/// A word of flags, with the prefix that the C names of its flags have.
pub trait FlagWord: bitflags::Flags {
    /// What comes before each flag's name in C, such as `GNTMAP_`.
    const C_PREFIX: &'static str;
}

/// Declares structures of the wire: `pub struct Name: "C type" { pub field: type as long = "C member", }`.
///
/// Every structure has the C layout, may hold any bytes, and has no padding that is not a field. For 32-bit callers each
/// member is laid out as its type is ([`Wire`](crate::compat::Wire)), or as the word after `as` says (`layout!`). With
/// `fixed;` before them, the structures are the same for all callers, as those with `uint64_aligned_t` and
/// `XEN_GUEST_HANDLE_64` in C are.
macro_rules! wire {
    (fixed; $($rest:tt)*) => { $crate::describe::wire! { @structures fixed $($rest)* } };
    (@structures $kind:ident $(
        $(#[$meta:meta])*
        pub struct $name:ident: $c_name:literal {
            $( $(#[$field_meta:meta])* pub $field:ident: $ty:ty $(as $width:ident)? $(= $c_path:literal)? ),* $(,)?
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        #[repr(C)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl $crate::describe::WireStruct for $name {
            const C_NAME: &'static str = $c_name;
            const SIZE: usize = size_of::<$name>();
            const FIELDS: &'static [$crate::describe::Field] = &{
                let mut _place = $crate::compat::Placer::NONE;
                [$( $crate::describe::wire!(@place $kind _place, $crate::describe::Field {
                    name: stringify!($field),
                    c_path: concat!($($c_path)?),
                    offset: core::mem::offset_of!($name, $field),
                    size: size_of::<$ty>(),
                    compat_offset: core::mem::offset_of!($name, $field),
                    compat: $crate::describe::wire!(@layout $kind $ty $(, $width)?),
                }), )*]
            };
        }

        impl $crate::compat::Wire for $name {
            const COMPAT: $crate::compat::CompatLayout = $crate::describe::wire!(@whole $kind $name);
        }

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    )* };
    (@place natural $place:ident, $field:expr) => { $place.field($field) };
    (@place fixed $place:ident, $field:expr) => { $field };
    (@layout natural $($layout:tt)*) => { $crate::compat::layout!($($layout)*) };
    (@layout fixed $ty:ty) => { $crate::compat::CompatLayout::same(size_of::<$ty>(), align_of::<$ty>()) };
    (@whole natural $name:ident) => {
        $crate::compat::CompatLayout::of_members(
            <$name as $crate::describe::WireStruct>::FIELDS,
            <$name as $crate::describe::WireStruct>::SIZE,
        )
    };
    (@whole fixed $name:ident) => {
        $crate::compat::CompatLayout::same(size_of::<$name>(), align_of::<$name>())
    };
    ($($rest:tt)*) => { $crate::describe::wire! { @structures natural $($rest)* } };
}

/// Declares numbers, and a table of them: `table NAME; pub const X: u32 = 1 => "C expression";`.
macro_rules! constants {
    (
        table $table:ident, prefix $prefix:literal;
        $( $(#[$meta:meta])* pub const $name:ident: $ty:ty = $value:expr $(=> $c:literal)?; )*
    ) => {
        $( $(#[$meta])* pub const $name: $ty = $value; )*

        #[doc(hidden)]
        pub const $table: $crate::describe::Table = $crate::describe::Table {
            module: module_path!(),
            constants: &[$(
                $crate::describe::Constant {
                    name: concat!($prefix, stringify!($name)),
                    c_expression: concat!($($c)?),
                    value: $name as i128,
                },
            )*],
        };
    };
    (table $table:ident; $($rest:tt)*) => {
        $crate::describe::constants! { table $table, prefix ""; $($rest)* }
    };
}

/// Declares a word of flags: `pub struct Name("C_PREFIX_"): u32 { const FLAG = 1 << 0; }`.
macro_rules! flags {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident($prefix:literal): $ty:ty {
            $( $(#[$($flag_meta:tt)*])* const $flag:ident = $value:expr; )*
        }
    )*) => { $(
        $(#[$meta])*
        ///
        /// Bits without a name are kept; `bits() & !all().bits()` tells whether there are any.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        #[repr(transparent)]
        pub struct $name(pub $ty);

        bitflags::bitflags! {
            impl $name: $ty {
                $( $(#[$($flag_meta)*])* const $flag = $value; )*
            }
        }

        impl $crate::compat::Wire for $name {
            const COMPAT: $crate::compat::CompatLayout = <$ty as $crate::compat::Wire>::COMPAT;
        }

        impl $crate::describe::FlagWord for $name {
            const C_PREFIX: &'static str = $prefix;
        }
    )* };
}

/// Gives a structure with a union the methods that read and write each member of it.
macro_rules! union_members {
    ($name:ty, $field:ident: $( $(#[$meta:meta])* $read:ident, $write:ident: $member:ty; )*) => {
        impl $name {
            $(
                $(#[$meta])*
                #[must_use]
                pub fn $read(&self) -> $member {
                    self.$field.read()
                }

                $(#[$meta])*
                ///
                /// Bytes of the union past this member stay as they are.
                pub fn $write(&mut self, value: $member) {
                    self.$field.write(value);
                }
            )*
        }
    };
}

pub(crate) use {constants, flags, union_members, wire};
