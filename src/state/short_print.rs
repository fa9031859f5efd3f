//! The lower 96 bits of a fingerprint, by which rows and keys are told apart, in words of four bytes.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub struct ShortPrint(u64, u32);

impl ShortPrint {
    pub const GREATEST: ShortPrint = ShortPrint(u64::MAX, u32::MAX);

    #[inline(always)]
    pub fn of(print: u128) -> ShortPrint {
        ShortPrint(print as u64, (print >> 64) as u32)
    }

    /// As a fingerprint of which the rest is 0.
    #[inline(always)]
    pub fn print(self) -> u128 {
        u128::from(self.1) << 64 | u128::from(self.0)
    }
}
