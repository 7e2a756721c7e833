//! What each failure code means, offline: the sections of `docs/failures.md`.

use crate::codes::ALL;

const TEXT: &str = include_str!("../../docs/failures.md");

/// Every code of the library with its title.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().map(|code| (code.name, code.title))
}

/// The section of a code, from its heading to the next.
pub(crate) fn section(code: &str) -> Option<&'static str> {
    let code = ALL.iter().find(|known| known.name == code)?;
    let begin = TEXT.find(&format!("\n## {}\n", code.name))? + 1;
    let end = TEXT[begin + 1..].find("\n## ").map_or(TEXT.len(), |end| begin + 1 + end + 1);
    // The anchor of the next section stands above its heading.
    Some(TEXT[begin..end].split("\n<a id=").next().unwrap_or_default().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_under_the_same_headings_and_has_its_anchor() {
        for code in ALL {
            let section = section(code.name).unwrap_or_else(|| panic!("{} is not explained", code.name));
            for heading in ["### Meaning", "### Impact", "### Diagnosis", "### Mitigation"] {
                assert!(section.contains(heading), "{}: no {heading}", code.name);
            }
            assert!(
                section.contains(&format!("exit {}", code.kind.exit_code())),
                "{}: no exit code",
                code.name
            );
            assert!(
                TEXT.contains(&format!("<a id=\"{}\"></a>", code.name.replace('.', "-"))),
                "{}",
                code.name
            );
            assert!(!section[1..].contains("\n## "), "{} runs over", code.name);
        }
        assert_eq!(TEXT.matches("\n## ").count(), ALL.len(), "a section of no code");
        assert_eq!(section("no.such-code"), None);
    }
}
