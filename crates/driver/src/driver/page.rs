//! Page tokens: opaque, tied to the list that gave them, good for as long as anybody keeps them.
//!
//! A token names the id after which the list goes on, so objects that come and go meanwhile do no harm.

use sha2::{Digest, Sha256};

use super::Refusal;

/// A list with its filters; a token of another list is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct List<'a> {
    /// Volumes or snapshots.
    pub(super) kind: &'static str,
    /// The filters of the request.
    pub(super) filters: Vec<&'a str>,
}

impl List<'_> {
    /// The token that continues the list after this id.
    pub(super) fn token(&self, after: &str) -> String {
        let mut token = hexadecimal(after.as_bytes());
        token.push_str(&self.seal(after));
        token
    }

    /// The id after which the list goes on; `None` for the beginning.
    pub(super) fn position(&self, token: &str) -> Result<Option<String>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let split = token.len().checked_sub(SEAL_LENGTH).ok_or(Refusal::BadToken)?;
        let (position, seal) = token.split_at_checked(split).ok_or(Refusal::BadToken)?;
        let after = plain(position).ok_or(Refusal::BadToken)?;
        if after.is_empty() || self.seal(&after) != seal {
            return Err(Refusal::BadToken);
        }
        Ok(Some(after))
    }

    fn seal(&self, after: &str) -> String {
        let mut digest = Sha256::new();
        for part in [self.kind, after].iter().chain(&self.filters) {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        hexadecimal(&digest.finalize()[..SEAL_LENGTH / 2])
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain(digits: &str) -> Option<String> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(pairs.collect::<Option<Vec<u8>>>()?).ok()
}

const SEAL_LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_position() {
        let list = List { kind: "volumes", filters: vec![] };
        let token = list.token("vol-0123456789abcdef0123456789abcdef");
        assert_eq!(list.position(&token), Ok(Some("vol-0123456789abcdef0123456789abcdef".to_owned())));
        assert!(token.len() <= 128);
        assert_eq!(list.position(""), Ok(None));
    }

    #[test]
    fn junk_and_changed_tokens_are_refused() {
        let list = List { kind: "volumes", filters: vec![] };
        let token = list.token("vol-1");
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(list.position(&changed), Err(Refusal::BadToken), "{changed}");
        }
        for junk in ["bogus", "0", "-1", "99999999999", &"x".repeat(128), "äöüäöüäöüäöü", "A0"] {
            assert_eq!(list.position(junk), Err(Refusal::BadToken), "{junk}");
        }
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let token = List { kind: "snapshots", filters: vec!["a"] }.token("snap-1");
        assert!(List { kind: "snapshots", filters: vec!["b"] }.position(&token).is_err());
        assert!(List { kind: "volumes", filters: vec!["a"] }.position(&token).is_err());
    }
}
