//! How reports word what the engine knows: times, lists, causes, sentences.

use std::{fmt, time::Duration};

use super::clean::{WINDOW, clean, escaped};
use crate::{
    contain::shown_at_most,
    error::{ErrorKind, StageError},
};

/// How many errors of one chain of causes are shown.
const CHAIN_MOST: usize = 6;
/// How long one message of a chain may be.
const MESSAGE_MOST: usize = 400;

/// What a value of the application's displays, on one line.
pub(super) fn clean_display(value: &dyn fmt::Display, most: usize) -> String {
    clean(&shown_at_most(value, WINDOW), most)
}

/// A stage's name, which is 40 characters at most unless it is the name that is wrong.
pub(super) fn stage(name: &str) -> String {
    clean(name, 40)
}

/// A time as a sentence holds it.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        _ if time < Duration::from_millis(100) => format!("{} ms", time.as_millis()),
        0..60 => format!("{:.2} s", time.as_secs_f64()),
        60..3600 => format!("{minutes} min {:02} s", seconds % 60),
        _ => format!("{hours} h {:02} min", minutes % 60),
    }
}

/// Up to `most` names in a row, and how many more there are.
pub(super) fn list<'n>(names: impl ExactSizeIterator<Item = &'n str>, most: usize) -> String {
    let hidden = names.len().saturating_sub(most);
    let shown: Vec<String> = names.take(most).map(stage).collect();
    let shown = shown.join(", ");
    if hidden == 0 { shown } else { format!("{shown} and {hidden} more") }
}

/// The messages of an error's causes, outermost first, each of them once.
///
/// [`StageError::chain`] is for logs; here every message is cut before it is compared.
pub(super) fn causes(error: &StageError) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for error in error.sources().take(CHAIN_MOST) {
        let message = clean_display(&error, MESSAGE_MOST).trim().to_owned();
        // Many crates repeat the source's text in their own, which would print it twice.
        if !messages.iter().any(|earlier| earlier.contains(&message)) {
            messages.push(message);
        }
    }
    messages
}

/// An error with its facts in one line, for a row of a table.
pub(super) fn brief(error: &StageError) -> String {
    let facts = error.facts().iter().take(4);
    let facts = facts.map(|fact| format!("; {}: {}", clean(&fact.name, 60), clean(&fact.value, 100)));
    escaped(&format!("{}{}", causes(error).join(": "), facts.collect::<String>()), 240, false)
}

/// A general title and a specific cause as one text. A cause that says what the title says stands alone.
pub(super) fn sentence(title: &str, cause: &str) -> String {
    let title = clean(title, 120);
    let text = if cause.is_empty() {
        title
    } else if says(cause, &title) {
        capitalised(cause)
    } else if cause.starts_with(|first: char| first.is_ascii_uppercase()) && cause.ends_with(['.', '!', '?'])
    {
        format!("{title}. {cause}")
    } else {
        format!("{title}: {cause}")
    };
    if text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}

/// Whether half of the words of `title` that carry meaning stand in `cause`, too.
fn says(cause: &str, title: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|each: char| !each.is_ascii_alphanumeric());
        words.filter(|word| word.len() > 3).map(str::to_ascii_lowercase).collect()
    };
    let (cause, title) = (words(cause), words(title));
    !title.is_empty() && title.iter().filter(|word| cause.contains(word)).count() * 2 >= title.len()
}

/// `text` with a capital first letter, unless its first word is a name that must stay as it is.
fn capitalised(text: &str) -> String {
    let first = text.split(' ').next().unwrap_or_default();
    if first.bytes().all(|each| each.is_ascii_lowercase()) {
        let (head, rest) = text.split_at(usize::from(!text.is_empty()));
        format!("{}{rest}", head.to_ascii_uppercase())
    } else {
        text.to_owned()
    }
}

/// The exit code as the verdict line says it.
pub(super) fn exit(code: u8) -> String {
    let name = ErrorKind::ALL.into_iter().find(|kind| kind.exit_code() == code).map(ErrorKind::exit_name);
    match (code, name) {
        (0, _) => "exit 0 (OK)".to_owned(),
        (_, Some(name)) => format!("exit {code} ({name})"),
        (_, None) => format!("exit {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_people_would_say() {
        for (time, shown) in [
            (Duration::from_micros(900), "0 ms"),
            (Duration::from_millis(48), "48 ms"),
            (Duration::from_millis(740), "0.74 s"),
            (Duration::from_secs(125), "2 min 05 s"),
            (Duration::from_secs(7_500), "2 h 05 min"),
        ] {
            assert_eq!(span(time), shown);
        }
    }

    #[test]
    fn a_cause_that_repeats_its_title_stands_alone() {
        let cases = [
            ("Another instance runs", "", "Another instance runs."),
            ("The licence has expired", "it ended in May", "The licence has expired: it ended in May."),
            ("The service failed", "Address in use", "The service failed: Address in use."),
            (
                "The data cannot be written",
                "/data cannot be written: EACCES",
                "/data cannot be written: EACCES.",
            ),
            (
                "The start was interrupted",
                "the start was interrupted: SIGINT",
                "The start was interrupted: SIGINT.",
            ),
            ("A stage could not start", "Nothing works!", "A stage could not start. Nothing works!"),
        ];
        for (title, cause, shown) in cases {
            assert_eq!(sentence(title, cause), shown);
        }
    }

    #[test]
    fn an_error_that_is_its_own_source_ends() {
        #[derive(Debug, thiserror::Error)]
        #[error("again {0}")]
        struct Deep(u32, #[source] Option<Box<Deep>>);
        let deep = (0..1000).fold(Deep(0, None), |inner, depth| Deep(depth, Some(Box::new(inner))));
        assert_eq!(causes(&StageError::from(deep)).len(), CHAIN_MOST);
    }
}
