//! Fingerprints of values up to the names of pod identities and object versions.
//!
//! The protocol only ever compares uids and versions for equality, so two states that differ by a one-to-one renaming of
//! them behave alike. A value is fingerprinted through its own `Hash`: wherever a simulated uid or version goes by, the
//! rank of its first appearance is hashed instead. No machine has to be taken apart for that.

use std::hash::{Hash, Hasher};

/// The prefix of every simulated uid.
pub(super) const UID: &str = "uid:";
/// The prefix of every simulated version.
pub(super) const VERSION: &str = "version:";

/// A uid or a version; which of them, and its number.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Token(u32);

impl Token {
    pub(super) const fn uid(number: u32) -> Self {
        Self(number << 1)
    }

    pub(super) const fn version(number: u32) -> Self {
        Self((number << 1) | 1)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
        match text.strip_prefix(UID.as_bytes()) {
            Some(digits) => number(digits).map(Self::uid),
            None => text.strip_prefix(VERSION.as_bytes()).and_then(number).map(Self::version),
        }
    }
}

/// A value up to renaming: the hash of its form, and which names stand in it in the order of their first appearance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    pub(super) form: u128,
    pub(super) tokens: Vec<Token>,
}

impl Shape {
    pub(super) fn of(value: &impl Hash) -> Self {
        let mut hasher = ShapeHasher::default();
        value.hash(&mut hasher);
        Self { form: hasher.mixer.finish(), tokens: hasher.tokens }
    }
}

/// Joins shapes that share their names.
pub(super) fn join<'a>(shapes: impl IntoIterator<Item = &'a Shape>) -> u128 {
    let mut mixer = Mixer::default();
    let mut seen: Vec<Token> = Vec::new();
    for shape in shapes {
        mixer.mix(shape.form as u64);
        mixer.mix((shape.form >> 64) as u64);
        for token in &shape.tokens {
            mixer.mix(rank(&mut seen, *token));
        }
    }
    mixer.finish()
}

fn rank(seen: &mut Vec<Token>, token: Token) -> u64 {
    let place = seen.iter().position(|known| *known == token).unwrap_or_else(|| {
        seen.push(token);
        seen.len() - 1
    });
    place as u64
}

#[derive(Default)]
struct ShapeHasher {
    mixer: Mixer,
    tokens: Vec<Token>,
}

impl Hasher for ShapeHasher {
    fn write(&mut self, bytes: &[u8]) {
        // A hand-over mark names a uid and a version.
        let parts = bytes.split(|byte| *byte == b'@');
        let names: Option<Vec<Token>> = parts.map(Token::parse).collect();
        match names {
            Some(names) => {
                for name in names {
                    let rank = rank(&mut self.tokens, name);
                    self.mixer.mix(NAME ^ rank);
                }
            }
            None => self.mixer.bytes(bytes),
        }
    }

    fn finish(&self) -> u64 {
        self.mixer.finish() as u64
    }
}

/// A fast 128-bit hash. Nobody attacks it: what it hashes comes from the search itself.
#[derive(Clone, Copy)]
struct Mixer(u64, u64);

impl Default for Mixer {
    fn default() -> Self {
        Self(0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344)
    }
}

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0x9E37_79B9_7F4A_7C15);
        self.1 = fold(self.1.rotate_left(23) ^ word, 0xD6E8_FEB8_6659_FD93) ^ self.0.rotate_left(31);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn finish(self) -> u128 {
        let mut last = self;
        last.mix(self.1);
        last.mix(self.0);
        (u128::from(last.0) << 64) | u128::from(last.1)
    }
}

fn fold(word: u64, multiplier: u64) -> u64 {
    let product = u128::from(word) * u128::from(multiplier);
    (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(17)
}

const NAME: u64 = 0xA409_3822_299F_31D0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_by_a_renaming_have_the_same_form() {
        let one = Shape::of(&["uid:3", "version:1", "uid:3@version:1", "x"]);
        let other = Shape::of(&["uid:9", "version:2", "uid:9@version:2", "x"]);
        assert_eq!(one.form, other.form);
        assert_eq!(one.tokens, [Token::uid(3), Token::version(1)]);
        assert_ne!(one.form, Shape::of(&["uid:9", "version:2", "uid:9@version:3", "x"]).form);
    }

    #[test]
    fn names_that_two_values_share_are_seen_when_they_are_joined() {
        let [a, b] = ["uid:1", "uid:2"].map(|text| Shape::of(&text));
        assert_eq!(join([&a, &a]), join([&b, &b]));
        assert_eq!(join([&a, &b]), join([&b, &a]));
        assert_ne!(join([&a, &b]), join([&a, &a]));
    }

    #[test]
    fn other_texts_are_told_apart() {
        let forms: std::collections::HashSet<u128> =
            (0..10_000u32).map(|number| Shape::of(&format!("text {number}")).form).collect();
        assert_eq!(forms.len(), 10_000);
    }
}
