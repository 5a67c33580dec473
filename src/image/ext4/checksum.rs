//! CRC-32C as ext4 uses it: no inversion at either end.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut sum = byte;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                sum >> 1 ^ 0x82f6_3b78
            } else {
                sum >> 1
            };
            bit += 1;
        }
        table[byte as usize] = sum;
        byte += 1;
    }
    table
};

pub(super) fn crc32c(from: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(from, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        sum >> 8 ^ TABLE[usize::from(low ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_is_the_standards() {
        assert_eq!(!super::crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
