//! The first hundred bytes of a SQLite file (<https://sqlite.org/fileformat.html#the_database_header>), as far
//! as they tell a database from something else, and a whole one from a part.

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// As much of a file as is looked at.
pub(super) const LENGTH: usize = 100;

/// What is wrong with a file of `size` bytes that begins with `head`; `None` if nothing shows. A file without any
/// byte is a new database.
///
/// `has_log` says that a log lies beside it, which may hold what the file itself lacks.
pub(super) fn fault(head: &[u8], size: u64, has_log: bool) -> Option<String> {
    if size == 0 {
        return None;
    }
    let Ok(head) = <&[u8; LENGTH]>::try_from(head) else {
        return Some(format!("it has {size} bytes, fewer than any SQLite database"));
    };
    if !head.starts_with(MAGIC) {
        return Some("it does not begin as a SQLite database does".to_owned());
    }
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    if !(512..=65_536).contains(&page) || !page.is_power_of_two() || head[21..24] != [64, 32, 32] {
        return Some("its header is damaged".to_owned());
    }
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    // The number of pages counts only if it was written together with the change counter (1.3.8 there).
    let (pages, current) = (number(28), number(24) == number(92));
    let whole = u64::from(pages) * page;
    (current && !has_log && size < whole)
        .then(|| format!("it is cut off: {size} bytes, and its header says {whole}"))
}

/// What is newer in a database than the SQLite of this program reads: the number, and the highest that is known. The
/// file is whole; it was written for another SQLite (1.3.3 and 1.3.10 there).
pub(super) fn newer(head: &[u8]) -> Option<Newer> {
    let head = <&[u8; LENGTH]>::try_from(head).ok().filter(|head| head.starts_with(MAGIC))?;
    let schema = u32::from_be_bytes([head[44], head[45], head[46], head[47]]);
    [
        ("the format for reading", u32::from(head[19]), FORMATS),
        ("the format for writing", u32::from(head[18]), FORMATS),
        ("the format of its schema", schema, SCHEMA_FORMATS),
    ]
    .into_iter()
    .find(|(_, found, known)| found > known)
    .map(|(what, found, known)| Newer { what, found, known })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Newer {
    pub(super) what: &'static str,
    pub(super) found: u32,
    pub(super) known: u32,
}

/// Journal and write-ahead log.
const FORMATS: u32 = 2;
const SCHEMA_FORMATS: u32 = 4;

/// Bytes of a file that may hold anything, as text where they are text.
pub(super) fn shown(head: &[u8]) -> String {
    let start = &head[..head.len().min(MAGIC.len())];
    if start == MAGIC {
        return "as it should be".to_owned();
    }
    let text: String =
        start.iter().map(|each| if each.is_ascii_graphic() { char::from(*each) } else { '.' }).collect();
    format!("`{text}`, expected `SQLite format 3`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a sound database of three pages of 4 KiB.
    fn sound() -> [u8; LENGTH] {
        let mut head = [0; LENGTH];
        head[..16].copy_from_slice(MAGIC);
        head[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        head[21..24].copy_from_slice(&[64, 32, 32]);
        head[31] = 3;
        head
    }

    #[test]
    fn a_sound_header_and_a_new_file_have_no_fault() {
        assert_eq!(fault(&sound(), 3 * 4096, false), None);
        assert_eq!(fault(&[], 0, false), None);
        assert_eq!(fault(&[], 0, true), None, "everything is still in the log");
    }

    #[test]
    fn a_file_that_is_shorter_than_its_header_says_is_cut_off_unless_a_log_has_the_rest() {
        for size in [100, 4096, 3 * 4096 - 1] {
            assert!(fault(&sound(), size, false).unwrap().contains("cut off"), "{size}");
            assert_eq!(fault(&sound(), size, true), None, "{size}");
        }
        let mut stale = sound();
        stale[27] = 1;
        assert_eq!(
            fault(&stale, 4096, false),
            None,
            "old versions of SQLite did not keep the number of pages"
        );
    }

    #[test]
    fn a_format_that_is_not_known_is_neither_damage_nor_a_permission() {
        assert_eq!(newer(&sound()), None);
        assert_eq!(newer(b"short"), None);
        for (at, known) in [(18, 2), (19, 2), (47, 4)] {
            let mut head = sound();
            head[at] = known;
            assert_eq!(newer(&head), None, "{at}");
            head[at] = known + 1;
            let found = newer(&head).unwrap();
            assert_eq!((found.found, found.known), (u32::from(known) + 1, u32::from(known)), "{at}");
            assert_eq!(fault(&head, 3 * 4096, false), None, "{at}: it is whole");
        }
    }

    #[test]
    fn every_other_beginning_is_refused() {
        assert!(fault(b"short", 5, false).unwrap().contains("fewer"));
        assert!(fault(&[b'x'; LENGTH], 4096, false).unwrap().contains("does not begin"));
        for (at, value) in [(16, 0x11), (17, 0x01), (21, 0)] {
            let mut damaged = sound();
            damaged[at] = value;
            assert!(fault(&damaged, 3 * 4096, false).unwrap().contains("damaged"), "{at}");
        }
        let mut huge = sound();
        huge[16..18].copy_from_slice(&[0, 1]);
        assert!(fault(&huge, 4096, false).unwrap().contains("196608"), "1 stands for 65536");
    }

    #[test]
    fn what_is_shown_of_a_file_cannot_reach_the_terminal() {
        assert_eq!(shown(b"\x1b[31mred\0\xff and more"), "`.[31mred...and.m`, expected `SQLite format 3`");
        assert_eq!(shown(&sound()), "as it should be");
    }
}
