//! Content that looks random and can be told again from its seed (`SplitMix64`).

/// A stream of 64-bit words that depends on the seed only.
#[derive(Debug, Clone)]
pub(crate) struct Words(u64);

impl Words {
    /// The stream of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Iterator for Words {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(word ^ (word >> 31))
    }
}

/// The first `length` bytes of the stream of `seed`.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut content: Vec<u8> = Words::new(seed)
        .take(length.div_ceil(8))
        .flat_map(u64::to_le_bytes)
        .collect();
    content.truncate(length);
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        assert_eq!(bytes(7, 1001), bytes(7, 1001));
        assert_eq!(bytes(7, 1001).len(), 1001);
    }

    #[test]
    fn another_seed_gives_other_bytes() {
        assert_ne!(bytes(7, 64), bytes(8, 64));
    }
}
