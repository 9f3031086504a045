//! Text from a driver, made harmless for a terminal.

use std::fmt::Write as _;

/// The text with control characters and invisible direction marks spelt out, and cut at a length in characters.
pub fn plain(text: &str, longest: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(longest));
    for (count, character) in text.chars().enumerate() {
        if count == longest {
            shown.push('…');
            break;
        }
        let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || hidden {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_direction_marks_lose_their_power() {
        assert_eq!(plain("a\u{1b}[31mb\n\u{202e}c", 80), "a\\u{1b}[31mb\\u{a}\\u{202e}c");
        assert_eq!(plain("abcdef", 3), "abc…");
        assert_eq!(plain("", 0), "");
    }
}
