//! From the bytes and texts of databases to our numbers and instants, without a panic on any of them.

use sha2::{Digest, Sha256};

use crate::event::{Key, NanoUsd};
use crate::time::Time;

/// Microseconds between 1970 and 2000, from which PostgreSQL counts.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// Instants are held within this many microseconds of 1970 (the year 9999): `infinity` and worse stay comparable.
const FAR: i64 = 253_402_300_799_000_000;
/// Stands for an amount that no number of ours can hold. It is negative, so that no bound admits it.
const NO_AMOUNT: i64 = i64::MIN;

/// One row as a mapping sees it; reused from row to row.
#[derive(Debug, Default)]
pub struct Row {
    /// Identity; none where the id is null.
    pub key: Option<Key>,
    /// The id itself, for later look-ups by id.
    pub id: Id,
    /// When it happened.
    pub time: Time,
    /// Whether it is finished.
    pub complete: bool,
    /// Whether the call succeeded; false where unknown.
    pub success: bool,
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
    /// All tokens.
    pub total_tokens: Option<u64>,
    /// Cost.
    pub cost: Option<NanoUsd>,
    /// Duration in units of the mapping.
    pub latency: Option<f64>,
    /// Calls it stands for.
    pub count: Option<u64>,
    /// The dimensions as [`Cells`] writes them.
    pub dimensions: Cells,
    /// The measures that are wanted, in millionths.
    pub measures: Vec<Option<i64>>,
    /// The marks that are wanted.
    pub marks: Vec<Option<u64>>,
}

impl Row {
    /// Empties what holds several values, for the next row.
    pub fn clear_lists(&mut self) {
        self.dimensions.clear();
        self.measures.clear();
        self.marks.clear();
    }

    /// The key under which a row without an id is remembered: a digest of all that it holds.
    pub fn digest(&self) -> Key {
        digest(&format!("{self:?}"))
    }
}

/// 128 bits of SHA-256.
fn digest(text: &str) -> Key {
    Sha256::digest(text.as_bytes()).iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte))
}

/// An id in the form that the database has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Id {
    /// A UUID.
    Uuid(u128),
    /// A whole number.
    Integer(i64),
    /// Anything else, as text.
    Text(String),
    /// Null.
    #[default]
    Null,
}

impl Id {
    /// The key under which the row is remembered.
    pub fn key(&self) -> Option<Key> {
        match self {
            Id::Uuid(bits) => Some(*bits),
            Id::Integer(n) => Some(*n as u64 as u128),
            Id::Text(text) => Some(digest(text)),
            Id::Null => None,
        }
    }

    /// As text, for a look-up by id.
    pub fn text(&self) -> String {
        match self {
            Id::Uuid(bits) => uuid_text(*bits),
            Id::Integer(n) => n.to_string(),
            Id::Text(text) => text.clone(),
            Id::Null => String::new(),
        }
    }
}

/// Values of dimensions in one buffer: compared and hashed as bytes, read as text only where they are new.
#[derive(Debug, Default)]
pub struct Cells(Vec<u8>);

impl Cells {
    /// Empties the buffer for the next row.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The bytes, equal for equal values.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds a null.
    pub fn null(&mut self) {
        self.0.push(b'0');
    }

    /// Adds a text.
    pub fn text(&mut self, bytes: &[u8]) {
        self.tagged(b't', bytes);
    }

    /// Adds a UUID.
    pub fn uuid(&mut self, bytes: [u8; 16]) {
        self.tagged(b'u', &bytes);
    }

    /// Adds a whole number.
    pub fn integer(&mut self, number: i64) {
        self.tagged(b'i', &number.to_be_bytes());
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// The values as text, null as none.
    pub fn values(&self) -> Vec<Option<String>> {
        let (mut values, mut rest) = (Vec::new(), self.0.as_slice());
        while let Some((&tag, tail)) = rest.split_first() {
            if tag == b'0' {
                values.push(None);
                rest = tail;
                continue;
            }
            let Some((length, tail)) = tail.split_first_chunk::<4>() else { break };
            let (bytes, tail) = tail.split_at((u32::from_be_bytes(*length) as usize).min(tail.len()));
            values.push(Some(match tag {
                b'u' => uuid_text(u128::from_be_bytes(bytes.try_into().unwrap_or_default())),
                b'i' => i64::from_be_bytes(bytes.try_into().unwrap_or_default()).to_string(),
                _ => String::from_utf8_lossy(bytes).into_owned(),
            }));
            rest = tail;
        }
        values
    }
}

/// The canonical text.
fn uuid_text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// PostgreSQL's binary timestamp: microseconds since 2000, the two extremes being the infinities.
pub fn postgres_time(raw: i64) -> Time {
    Time(raw.saturating_add(POSTGRES_EPOCH).clamp(-FAR, FAR))
}

/// PostgreSQL's binary NUMERIC (`numeric_send`) in billionths; none for NaN, which says as little as NULL. The infinities
/// and what does not fit become an amount that is refused.
pub fn postgres_numeric_nanos(bytes: &[u8]) -> Option<i64> {
    postgres_numeric(bytes, 1_000)
}

/// The same in millionths.
pub fn postgres_numeric_micros(bytes: &[u8]) -> Option<i64> {
    postgres_numeric(bytes, 1_000_000)
}

/// A NUMERIC in units of so many million millionths, rounded half away from zero.
fn postgres_numeric(bytes: &[u8], unit: i128) -> Option<i64> {
    let word = |i: usize| bytes.get(2 * i..2 * i + 2).map(|b| i16::from_be_bytes([b[0], b[1]]));
    let (digits, weight, sign) = (word(0)?, i32::from(word(1)?), word(2)? as u16);
    match sign {
        0 | 0x4000 => {}
        0xD000 | 0xF000 => return Some(NO_AMOUNT),
        _ => return None,
    }
    // Digit i stands for d * 10000^(weight - i); what is smaller than 10000^-3 does not change how it is rounded.
    let mut total: i128 = 0;
    for i in 0..i32::from(digits) {
        let digit = i128::from(word(4 + i as usize)?);
        let power = weight - i;
        if power > 4 {
            return Some(NO_AMOUNT);
        }
        if power >= -3 {
            total += digit * 10_000i128.pow((power + 3) as u32);
        }
    }
    let Ok(amount) = i64::try_from((total + unit / 2) / unit) else { return Some(NO_AMOUNT) };
    Some(if sign == 0x4000 { -amount } else { amount })
}

/// Whole billionths of a number, the largest or smallest where they do not fit; none for NaN.
pub fn float_nanos(value: f64) -> Option<i64> {
    (!value.is_nan()).then_some((value * 1e9).round() as i64)
}

/// The same in millionths.
pub fn float_micros(value: f64) -> Option<i64> {
    (!value.is_nan()).then_some((value * 1e6).round() as i64)
}

/// Millionths of a whole number, the largest or smallest where they do not fit.
pub fn integer_micros(value: i64) -> i64 {
    value.saturating_mul(1_000_000)
}

/// A count from a number that a database gave: the largest that there is, which is refused, where it is negative or does
/// not fit; none for NaN.
pub fn float_count(value: f64) -> Option<u64> {
    (!value.is_nan()).then_some(if value < 0.0 { u64::MAX } else { value.round() as u64 })
}

/// An instant from the texts in which SQLite keeps it; none where it is no time.
pub fn text_time(text: &str) -> Option<Time> {
    let time = Time::parse(text).ok()?;
    Some(Time(time.0.clamp(-FAR, FAR)))
}

/// An instant from a number since 1970, whose size tells its unit: seconds, milliseconds, microseconds, nanoseconds.
pub fn number_time(value: f64) -> Option<Time> {
    let unit = [(1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (1e20, 1e-3)].into_iter().find(|(limit, _)| value.abs() < *limit)?.1;
    Some(Time((value * unit).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_are_exact() {
        #[track_caller]
        fn check(words: &[i16], expected: Option<i64>) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(postgres_numeric_nanos(&bytes), expected, "{words:?}");
        }
        // ndigits, weight, sign, dscale, digits
        check(&[0, 0, 0, 0], Some(0));
        check(&[1, 0, 0, 0, 12], Some(12_000_000_000));
        check(&[3, 0, 0, 6, 1, 2345, 6700], Some(1_234_567_000));
        check(&[1, -2, 0, 6, 100], Some(1_000));
        check(&[2, 0, 0x4000, 1, 1, 5000], Some(-1_500_000_000));
        check(&[0, 0, 0xC000u16 as i16, 0], None);
        check(&[0, 0, 0xD000u16 as i16, 0], Some(NO_AMOUNT));
        check(&[0, 0, 0xF000u16 as i16, 0], Some(NO_AMOUNT));
        check(&[1, 9, 0, 0, 1], Some(NO_AMOUNT));
        check(&[1, 3, 0x4000, 0, 1], Some(NO_AMOUNT));
        check(&[1], None);
    }

    #[test]
    fn measures_are_millionths() {
        #[track_caller]
        fn check(words: &[i16], expected: Option<i64>) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(postgres_numeric_micros(&bytes), expected, "{words:?}");
        }
        check(&[1, 0, 0, 0, 4], Some(4_000_000));
        check(&[2, 0, 0x4000, 2, 3, 5000], Some(-3_500_000));
        // 0.0000005 and a hair less.
        check(&[1, -2, 0, 7, 50], Some(1));
        check(&[2, -2, 0x4000, 11, 49, 9999], Some(0));
        check(&[1, 3, 0, 0, 1], Some(1_000_000_000_000_000_000));
        check(&[1, 4, 0, 0, 1], Some(NO_AMOUNT));
        check(&[0, 0, 0xC000u16 as i16, 0], None);
        assert_eq!(
            (float_micros(4.2_f32.into()), float_micros(-0.5), float_micros(f64::NAN)),
            (Some(4_200_000), Some(-500_000), None)
        );
        assert_eq!(
            (float_micros(f64::INFINITY), integer_micros(-7), integer_micros(i64::MIN)),
            (Some(i64::MAX), -7_000_000, i64::MIN)
        );
    }

    #[test]
    fn what_is_no_amount_is_none_and_what_is_absurd_is_refusable() {
        assert_eq!((float_count(f64::NAN), float_nanos(f64::NAN)), (None, None));
        assert_eq!((float_count(-0.0), float_count(2.0), float_count(9e15)), (Some(0), Some(2), Some(9_000_000_000_000_000)));
        for absurd in [-1.0, f64::NEG_INFINITY, f64::INFINITY, 1e300] {
            assert_eq!(float_count(absurd), Some(u64::MAX), "{absurd}");
        }
        assert_eq!((float_nanos(f64::INFINITY), float_nanos(-1e300)), (Some(i64::MAX), Some(i64::MIN)));
    }

    #[test]
    fn a_digest_tells_rows_without_an_id_apart() {
        let row = |cost| Row { cost, ..Row::default() };
        assert_eq!(row(Some(1)).digest(), row(Some(1)).digest());
        assert_ne!(row(Some(1)).digest(), row(Some(2)).digest());
    }

    #[test]
    fn times_of_every_form_and_no_panic() {
        assert_eq!(postgres_time(0), Time::from_secs(946_684_800));
        assert_eq!((postgres_time(i64::MAX), postgres_time(i64::MIN)), (Time(FAR), Time(-FAR)));
        for text in ["2023-11-16 18:15:46.680590", "2023-11-16T18:15:46.680590Z", "2023-11-16T20:15:46.680590+02:00"] {
            assert_eq!(text_time(text), Some(Time(1_700_158_546_680_590)), "{text}");
        }
        for number in [1_700_158_546.0, 1_700_158_546_000.0, 1_700_158_546_000_000.0] {
            assert_eq!(number_time(number), Some(Time::from_secs(1_700_158_546)), "{number}");
        }
        assert_eq!((text_time("yesterday"), number_time(f64::NAN)), (None, None));
    }

    #[test]
    fn cells_read_what_was_written() {
        let mut cells = Cells::default();
        cells.text(b"gpt-4o");
        cells.null();
        cells.uuid([0x12; 16]);
        cells.integer(-7);
        let expected = [Some("gpt-4o"), None, Some("12121212-1212-1212-1212-121212121212"), Some("-7")];
        assert_eq!(cells.values(), expected.map(|v| v.map(str::to_owned)));
    }
}
