//! Unions of the interface, held as plain bytes.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The `N` bytes of a C union; the structure around it has a pair of methods for each member.
///
/// A Rust union would need `unsafe` to read and would leave the bytes past a short member undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Union<const N: usize>(pub [u8; N]);

impl<const N: usize> Union<N> {
    /// Returns the union's bytes, taken as a `T`. A `T` that is larger than the union does not compile.
    #[must_use]
    pub fn read<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= N, "the member is larger than its union") };
        let mut value = T::new_zeroed();
        for (to, from) in value.as_mut_bytes().iter_mut().zip(self.0) {
            *to = from;
        }
        value
    }

    /// Puts a `T` at the start of the union; the bytes past it stay.
    pub fn write<T: IntoBytes + Immutable>(&mut self, value: T) {
        const { assert!(size_of::<T>() <= N, "the member is larger than its union") };
        for (to, from) in self.0.iter_mut().zip(value.as_bytes()) {
            *to = *from;
        }
    }
}

impl<const N: usize> Default for Union<N> {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

#[cfg(test)]
mod tests {
    use super::Union;

    #[test]
    fn a_member_comes_back_as_it_was_written() {
        let mut bytes = Union::<8>::default();
        bytes.write(0x1234_5678_u32);
        assert_eq!(bytes.read::<u32>(), 0x1234_5678);
    }

    #[test]
    fn bytes_past_a_short_member_stay() {
        let mut bytes = Union([0xff; 4]);
        bytes.write(1_u16);
        assert_eq!(bytes.read::<u32>(), 0xffff_0001);
    }
}
