//! Compat layouts: how 32-bit callers lay out what they pass.
//!
//! A 32-bit caller has 4-byte longs, pointers and frame numbers, and aligns 64-bit numbers to 4 bytes.
//! [`wire!`](crate::describe) derives the layout for such a caller from the one declaration of each structure, and
//! `tests/layout` compares it with the layout that the C compiler gives the public headers for 32 bits. All other code
//! works on the 64-bit layout; [`CompatLayout::widen`] and [`CompatLayout::narrow`] convert.

use crate::describe::Field;
use crate::memory_map::{E820_ENTRY_SIZE, MemmapEntry};
use crate::{DomId, Gfn, GrantHandle, GrantRef, GuestHandle, Mfn, Port, Union, VcpuId};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A type that guest and hypervisor exchange, by value or as an element of a list.
pub trait Wire: FromBytes + IntoBytes + Immutable {
    /// Its layout for a 32-bit caller.
    const COMPAT: CompatLayout;
}

/// How an element of a 32-bit caller is converted to that of a 64-bit caller, and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Both have the same bytes: copied.
    Same,
    /// A 64-bit number, of which a 32-bit caller has the low half: zero-extended, truncated.
    LowHalf,
    /// A structure: converted member by member.
    Members(&'static [Field]),
}

/// The layout of a type for a 32-bit caller: one element, or an array of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompatLayout {
    /// Number of elements.
    pub count: usize,
    /// Size of one element for a 64-bit caller, in bytes.
    pub native_size: usize,
    /// Size of one element for a 32-bit caller, in bytes; at most [`Self::native_size`].
    pub compat_size: usize,
    /// Alignment for a 32-bit caller, in bytes.
    pub align: usize,
    /// How an element is converted.
    pub translation: Translation,
}

impl CompatLayout {
    /// Creates the layout of `size` bytes that are the same for all callers.
    #[must_use]
    pub const fn same(size: usize, align: usize) -> Self {
        Self { count: 1, native_size: size, compat_size: size, align, translation: Translation::Same }
    }

    /// Creates the layout of `size` bytes of 64-bit numbers that are longs in C, and 32 bits wide for a 32-bit caller.
    #[must_use]
    pub const fn long(size: usize) -> Self {
        Self { count: size / 8, native_size: 8, compat_size: LONG, align: LONG, translation: Translation::LowHalf }
    }

    /// Creates the layout of a structure with these members, which takes `native_size` bytes for a 64-bit caller.
    #[must_use]
    pub const fn of_members(members: &'static [Field], native_size: usize) -> Self {
        let (mut end, mut align, mut same) = (0, 1, true);
        let mut rest = members;
        while let [member, others @ ..] = rest {
            if member.compat.count != 0 {
                end = member.compat_offset.saturating_add(member.compat.size());
                align = if member.compat.align > align { member.compat.align } else { align };
                same &= member.compat_offset == member.offset && member.compat.is_same();
            }
            rest = others;
        }
        let compat_size = end.next_multiple_of(align);
        if same && compat_size == native_size {
            return Self::same(native_size, align);
        }
        assert!(compat_size <= native_size, "no type is larger for a 32-bit caller");
        Self { count: 1, native_size, compat_size, align, translation: Translation::Members(members) }
    }

    /// Creates the layout of an array of `count` such elements.
    #[must_use]
    pub const fn times(self, count: usize) -> Self {
        Self { count: self.count.saturating_mul(count), ..self }
    }

    /// Returns the size for a 32-bit caller, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.count.saturating_mul(self.compat_size)
    }

    /// Returns whether both kinds of caller have the same bytes.
    #[must_use]
    pub const fn is_same(&self) -> bool {
        matches!(self.translation, Translation::Same)
    }

    /// Returns the offset, for a 32-bit caller, of the member at `native_offset` for a 64-bit one; None where no member
    /// begins.
    #[must_use]
    pub fn offset_of(&self, native_offset: usize) -> Option<usize> {
        match self.translation {
            Translation::Same => Some(native_offset),
            Translation::LowHalf => (native_offset == 0).then_some(0),
            Translation::Members(members) => members
                .iter()
                .find(|member| member.offset == native_offset && member.compat.count != 0)
                .map(|member| member.compat_offset),
        }
    }

    /// Converts what a 32-bit caller passed to the 64-bit layout. Bytes of `native` that it does not have are left
    /// alone.
    pub fn widen(&self, compat: &[u8], native: &mut [u8]) {
        let elements = compat.chunks_exact(self.compat_size).zip(native.chunks_exact_mut(self.native_size));
        for (from, to) in elements.take(self.count) {
            match self.translation {
                Translation::Same => copy(from, to, self.native_size),
                Translation::LowHalf => copy(from, to, LONG),
                Translation::Members(members) => members.iter().for_each(|member| {
                    if let (Some(from), Some(to)) = (from.get(member.compat_offset..), to.get_mut(member.offset..)) {
                        member.compat.widen(from, to);
                    }
                }),
            }
        }
    }

    /// Converts the 64-bit layout to that of a 32-bit caller, by the low half of each long. Padding is left alone.
    pub fn narrow(&self, native: &[u8], compat: &mut [u8]) {
        let elements = native.chunks_exact(self.native_size).zip(compat.chunks_exact_mut(self.compat_size));
        for (from, to) in elements.take(self.count) {
            match self.translation {
                Translation::Same => copy(from, to, self.native_size),
                Translation::LowHalf => copy(from, to, LONG),
                Translation::Members(members) => members.iter().for_each(|member| {
                    if let (Some(from), Some(to)) = (from.get(member.offset..), to.get_mut(member.compat_offset..)) {
                        member.compat.narrow(from, to);
                    }
                }),
            }
        }
    }
}

/// Size of a 32-bit caller's long, in bytes.
const LONG: usize = 4;

fn copy(from: &[u8], to: &mut [u8], most: usize) {
    to.iter_mut().zip(from).take(most).for_each(|(to, from)| *to = *from);
}

/// Places members one after another, as the C compiler does.
#[doc(hidden)]
pub struct Placer {
    end: usize,
}

impl Placer {
    /// A structure without members.
    pub const NONE: Self = Self { end: 0 };

    /// Places the next member. A member that spells out padding of the C compiler gets no place: the padding follows
    /// from the alignment of the next member.
    #[must_use]
    pub const fn field(&mut self, mut field: Field) -> Field {
        let named_so = matches!(field.name.as_bytes(), [b'p', b'a', b'd', ..]) && field.c_path.is_empty();
        if named_so && field.compat.native_size == 1 {
            field.compat = field.compat.times(0);
            field.compat_offset = self.end;
            return field;
        }
        field.compat_offset = self.end.next_multiple_of(field.compat.align);
        self.end = field.compat_offset.saturating_add(field.compat.size());
        field
    }
}

/// Returns the layout of a member: that of its type, or that of the word after `as` where C has another type.
///
/// `long`: a C long, or a union of a frame number and something shorter. `wide`: 64 bits for every caller. `slot`: a
/// pointer in a union with 64 bits, so that a 32-bit caller's pointer is followed by 4 unused bytes.
macro_rules! layout {
    ($ty:ty) => {
        <$ty as $crate::compat::Wire>::COMPAT
    };
    ($ty:ty, long) => {
        $crate::compat::CompatLayout::long(size_of::<$ty>())
    };
    ($ty:ty, wide) => {
        $crate::compat::CompatLayout::same(size_of::<$ty>(), 4)
    };
    ($ty:ty, slot) => {
        $crate::compat::CompatLayout { compat_size: 8, ..$crate::compat::CompatLayout::long(size_of::<$ty>()) }
    };
}

pub(crate) use layout;

macro_rules! wire_types {
    ($( $ty:ty: $layout:expr; )*) => { $( impl Wire for $ty { const COMPAT: CompatLayout = $layout; } )* };
}

wire_types! {
    u8: CompatLayout::same(1, 1);
    i8: CompatLayout::same(1, 1);
    u16: CompatLayout::same(2, 2);
    i16: CompatLayout::same(2, 2);
    u32: CompatLayout::same(4, 4);
    i32: CompatLayout::same(4, 4);
    u64: CompatLayout::same(8, 4);
    i64: CompatLayout::same(8, 4);
    DomId: u16::COMPAT;
    VcpuId: u32::COMPAT;
    Port: u32::COMPAT;
    GrantRef: u32::COMPAT;
    GrantHandle: u32::COMPAT;
    Gfn: CompatLayout::long(8);
    Mfn: CompatLayout::long(8);
    MemmapEntry: CompatLayout::same(E820_ENTRY_SIZE, 4);
}

impl<T> Wire for GuestHandle<T> {
    const COMPAT: CompatLayout = CompatLayout::long(8);
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    const COMPAT: CompatLayout = T::COMPAT.times(N);
}

impl<const N: usize> Wire for Union<N> {
    const COMPAT: CompatLayout = CompatLayout::same(N, 4);
}

/// An element of a list of longs (`xen_ulong_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
pub struct Ulong(pub u64);

wire_types! { Ulong: CompatLayout::long(8); }

#[cfg(test)]
mod tests {
    use super::{CompatLayout, Translation, Wire};
    use crate::grant_table::{GnttabCopy, GnttabMapGrantRef};
    use crate::hypercall::MulticallEntry;
    use crate::memory::MemoryReservation;
    use crate::{DomId, Gfn, GrantRef, GuestHandle};
    use core::mem::offset_of;
    use zerocopy::IntoBytes;

    fn widened<T: Wire>(compat: &[u8]) -> T {
        assert_eq!(compat.len(), T::COMPAT.size());
        let mut value = T::new_zeroed();
        T::COMPAT.widen(compat, value.as_mut_bytes());
        value
    }

    #[test]
    fn a_reservation_of_a_32_bit_caller_is_widened_member_by_member() {
        let mut compat = [0; 20];
        for (at, byte) in compat.iter_mut().zip(1..) {
            *at = byte;
        }
        let reservation: MemoryReservation = widened(&compat);
        assert_eq!(reservation.extent_start, GuestHandle::new(0x0403_0201));
        assert_eq!(reservation.nr_extents, 0x0807_0605);
        assert_eq!(reservation.extent_order, 0x0c0b_0a09);
        assert_eq!(reservation.mem_flags.0, 0x100f_0e0d);
        assert_eq!((reservation.domid, reservation.pad), (DomId(0x1211), [0; 6]));
    }

    #[test]
    fn a_long_loses_its_high_half_on_the_way_out() {
        let entry = MulticallEntry { op: 1, result: (-38_i64).cast_unsigned(), args: [1 << 32 | 7; 6] };
        let mut compat = [0xee; 32];
        MulticallEntry::COMPAT.narrow(entry.as_bytes(), &mut compat);
        assert_eq!(compat[..12], [1, 0, 0, 0, 0xda, 0xff, 0xff, 0xff, 7, 0, 0, 0]);
        let back: MulticallEntry = widened(&compat);
        assert_eq!((back.op, back.result, back.args), (1, 0xffff_ffda, [7; 6]));
    }

    #[test]
    fn a_structure_within_a_structure_is_widened_too() {
        let mut copy = GnttabCopy::default();
        copy.source.set_gfn(Gfn(0x1234_5678));
        copy.dest.set_gref(GrantRef(9));
        (copy.dest.domid, copy.dest.offset, copy.len) = (DomId(3), 4, 5);
        let mut compat = [0; 24];
        GnttabCopy::COMPAT.narrow(copy.as_bytes(), &mut compat);
        assert_eq!(compat[..20], [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 4, 0, 5, 0, 0, 0]);
        assert_eq!(widened::<GnttabCopy>(&compat), copy);
        let status = GnttabCopy::COMPAT.offset_of(offset_of!(GnttabCopy, status));
        assert_eq!((status, GnttabCopy::COMPAT.offset_of(1)), (Some(20), None));
    }

    #[test]
    fn a_structure_that_all_callers_share_is_not_translated() {
        assert_eq!(GnttabMapGrantRef::COMPAT, CompatLayout::same(32, 4));
        assert_eq!(<[Gfn; 3]>::COMPAT.size(), 12);
        assert_eq!(<[Gfn; 3]>::COMPAT.translation, Translation::LowHalf);
    }
}
