//! Chance that repeats: the same seed gives the same boots, for ever and on every machine.
//!
//! `SplitMix64`; we need no more than its 64 good bits, and a crate could change its stream under us.

/// A stream of numbers that depends on the seed alone.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// A number of milliseconds from the closed range.
    pub(crate) fn within(&mut self, range: (i64, i64)) -> i64 {
        let (low, high) = range;
        let width = u64::try_from(high.saturating_sub(low)).unwrap_or_default();
        low + i64::try_from(self.below(width + 1)).unwrap_or_default()
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or_default();
        from[at]
    }

    /// The gap to the next arrival of a Poisson stream with this mean gap.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "milliseconds of a gap are far below 2^52"
    )]
    pub(crate) fn gap(&mut self, mean_ms: i64) -> i64 {
        let unit = ((self.bits() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        (-unit.ln() * mean_ms as f64) as i64
    }

    /// The bits of a version 4 UUID.
    pub(crate) fn uuid(&mut self) -> u128 {
        let bits = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        (bits & !(0xf << 76) & !(0xc << 60)) | (0x4 << 76) | (0x8 << 60)
    }
}
