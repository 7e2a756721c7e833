//! Characters that nobody sees, and that a path, a URL or a secret would silently be another by.

/// Characters that are not seen, that change the order in which others are seen, or that end a line: the default
/// ignorable code points of Unicode (`DerivedCoreProperties.txt`), the controls, and the blanks that are not U+0020.
const UNSEEN: &[(char, char)] = &[
    ('\0', '\u{8}'),
    ('\u{b}', '\u{1f}'),
    ('\u{7f}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Which of the characters that nobody sees a value may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unseen {
    /// Those that words and emoji are joined and varied with, line breaks and tabs: a text.
    OfWords,
    /// Line breaks and tabs, of which there is a warning: a secret, which may be a key of many lines, and a path.
    Lines,
    /// None: a URL.
    None,
}

impl Unseen {
    /// The first character of `text` that may not be there, and its place, from 1.
    pub(super) fn first_in(self, text: &str) -> Option<(usize, char)> {
        text.chars().zip(1..).find(|&(each, _)| !self.allows(each)).map(|(each, at)| (at, each))
    }

    fn allows(self, each: char) -> bool {
        match each {
            '\n' | '\t' => self != Self::None,
            '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' => self == Self::OfWords,
            _ => !UNSEEN.iter().any(|&(from, to)| (from..=to).contains(&each)),
        }
    }
}

/// The character as people look it up.
pub(super) fn name(each: char) -> String {
    let what = match each {
        '\0' => "NUL",
        '\t' => "tab",
        '\n' => "line break",
        '\r' => "carriage return",
        '\u{1b}' => "escape",
        '\u{a0}' => "no-break space",
        '\u{200b}' => "zero-width space",
        '\u{feff}' => "byte order mark",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            "direction of text"
        }
        _ if each.is_control() => "control character",
        _ => "invisible",
    };
    format!("U+{:04X} ({what})", u32::from(each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_found_where_it_stands() {
        for each in
            ["\u{0}", "\r", "\u{1b}", "\u{9b}", "\u{a0}", "\u{200b}", "\u{202e}", "\u{2069}", "\u{feff}"]
        {
            for unseen in [Unseen::OfWords, Unseen::Lines, Unseen::None] {
                let found = unseen.first_in(&format!("/d\u{e9}t{each}a"));
                assert_eq!(found, each.chars().next().map(|each| (5, each)), "{unseen:?}");
            }
        }
        assert_eq!(Unseen::Lines.first_in("-----BEGIN\n\tx"), None);
        assert_eq!(Unseen::None.first_in("/data\n"), Some((6, '\n')));
        assert_eq!(Unseen::OfWords.first_in("\u{2764}\u{fe0f} \u{645}\u{6cc}\u{200c}\u{62e}"), None);
        assert_eq!(Unseen::Lines.first_in("a\u{200d}"), Some((2, '\u{200d}')));
    }
}
