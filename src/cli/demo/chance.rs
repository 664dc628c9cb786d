//! Numbers that look random and are a function of their seed: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).

use sha2::{Digest, Sha256};

/// A stream of numbers; the same (seed, place) gives the same stream.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of one place, such as a second of the schedule; streams of different places are unrelated.
    pub fn at(seed: u64, place: u64) -> Chance {
        let mut mixed = Chance(seed ^ place.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Chance(mixed.bits())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Nearly log-normal around a median: what token counts and latencies look like. `spread` is the sigma of the logarithm.
    pub fn around(&mut self, median: f64, spread: f64) -> f64 {
        // Twelve uniforms less six: mean 0, variance 1, and bounded, so that nothing absurd comes out.
        let normal: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        median * (spread * normal).exp()
    }

    /// An item by the weights that `weight` gives; none only of an empty list.
    pub fn pick<'a, T>(&mut self, items: &'a [T], weight: impl Fn(&T) -> f64) -> Option<&'a T> {
        let total: f64 = items.iter().map(&weight).sum();
        let mut left = self.unit() * total;
        let chosen = items.iter().find(|item| {
            left -= weight(item);
            left < 0.0
        });
        chosen.or(items.last())
    }

    /// A UUID (version 4) as text.
    pub fn uuid(&mut self) -> String {
        uuid_text((u128::from(self.bits()) << 64) | u128::from(self.bits()))
    }
}

/// The UUID that always stands for this name, as text: keys of the lookup tables.
pub fn name_uuid(kind: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{kind}\0{name}"));
    let bits = digest.iter().take(16).fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    uuid_text(bits)
}

fn uuid_text(bits: u128) -> String {
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let take = |seed, place| {
            (0..4)
                .map({
                    let mut c = Chance::at(seed, place);
                    move |_| c.bits()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(1, 3));
        assert_ne!(take(1, 2), take(2, 2));
    }

    #[test]
    fn uuids_have_their_form() {
        let id = Chance::at(0, 0).uuid();
        assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_eq!(name_uuid("org", "a"), name_uuid("org", "a"));
        assert_ne!(name_uuid("org", "a"), name_uuid("provider", "a"));
    }

    #[test]
    fn weights_hold() {
        let mut chance = Chance::at(7, 0);
        let hits = (0..10_000).filter(|_| chance.pick(&[1.0, 3.0], |w| *w) == Some(&3.0)).count();
        assert!((7_300..7_700).contains(&hits), "{hits}");
    }
}
