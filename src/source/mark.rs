//! Marks: 64 bits that stand for a value where only the number of distinct ones is asked for.
//!
//! One text has one mark, whatever table, database or type it comes from, and keeps it across restarts: marks are stored.
//! Two texts among a million share one with a chance of 1 in 37 million.

/// The mark of a text; none of an empty one, which is no value.
pub fn text(bytes: &[u8]) -> Option<u64> {
    (!bytes.is_empty()).then(|| digest(bytes))
}

/// The mark of a UUID's canonical text.
pub fn uuid(bits: u128) -> Option<u64> {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let (mut canonical, mut at) = ([b'-'; 36], 0);
    for (i, byte) in bits.to_be_bytes().into_iter().enumerate() {
        at += usize::from(matches!(i, 4 | 6 | 8 | 10));
        canonical[at..at + 2].copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        at += 2;
    }
    text(&canonical)
}

/// The mark of a whole number's text.
pub fn integer(number: i64) -> Option<u64> {
    text(itoa::Buffer::new().format(number).as_bytes())
}

/// MurmurHash64A by Austin Appleby with seed 0: a few nanoseconds, and all bits mixed, as estimates of distinct values need.
fn digest(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = (bytes.len() as u64).wrapping_mul(M);
    for word in words {
        let word = u64::from_le_bytes(*word).wrapping_mul(M);
        hash = (hash ^ (word ^ word >> 47).wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, byte| last << 8 | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_has_one_mark_whatever_its_type() {
        let id = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(uuid(id), text(b"01234567-89ab-cdef-0011-223344556677"));
        assert_eq!((integer(-42), integer(i64::MIN)), (text(b"-42"), text(b"-9223372036854775808")));
        assert_ne!(text(b"42"), text(b"43"));
        assert_eq!(text(b""), None);
    }

    #[test]
    fn marks_are_those_of_the_published_function() {
        let marks = ["a", "user", "12345678", "123456789"].map(|value| text(value.as_bytes()).unwrap());
        assert_eq!(marks, [0x0717_17d2_d36b_6b11, 0x06d1_f86c_35b5_f8b4, 0x758f_67d1_62b2_d202, 0x4977_4902_5167_4330]);
    }
}
