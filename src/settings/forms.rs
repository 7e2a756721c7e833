//! The forms that a value can have: for each, how it is read, and how a default is shown.

mod duration;
mod url;

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr};

use super::{invisible::Unseen, problems::Fault, secret::Secret};

pub(crate) use duration::SOME_TIME;
pub(super) use duration::duration;
pub(super) use url::url;
pub use url::{HttpUrl, InvalidUrl};

type Parse<T> = Box<dyn Fn(&str) -> Result<T, Fault>>;
type Show<T> = Box<dyn Fn(&T) -> String>;

/// All that distinguishes one kind of variable from another.
pub(super) struct Form<T> {
    /// What to write, to follow the word "write".
    pub(super) shape: String,
    /// White space around the value belongs to it.
    pub(super) verbatim: bool,
    /// The value may be a secret or contain one, so it is never printed.
    pub(super) secret: bool,
    /// Which characters it may hold that nobody sees.
    pub(super) unseen: Unseen,
    /// What a required variable gives after its problem was recorded. The start is refused before any
    /// stage sees it, but until then it must be a value that does no harm.
    pub(super) stand_in: T,
    pub(super) parse: Parse<T>,
    pub(super) show: Show<T>,
}

impl<T: 'static> Form<T> {
    /// A form whose values are trimmed and may be printed.
    fn plain(
        shape: impl Into<String>,
        stand_in: T,
        parse: impl Fn(&str) -> Result<T, Fault> + 'static,
        show: impl Fn(&T) -> String + 'static,
    ) -> Self {
        Self {
            shape: shape.into(),
            verbatim: false,
            secret: false,
            unseen: Unseen::None,
            stand_in,
            parse: Box::new(parse),
            show: Box::new(show),
        }
    }

    fn verbatim(self) -> Self {
        Self { verbatim: true, ..self }
    }

    fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    fn unseen(self, unseen: Unseen) -> Self {
        Self { unseen, ..self }
    }

    /// Whether the `_FILE` twin is read: for free text and for secrets. A number or a duration is no
    /// secret and has no reason to stand in a file.
    pub(super) fn takes_file(&self) -> bool {
        self.verbatim || self.secret
    }

    /// Several values of the form, with commas between them and blanks around these.
    pub(super) fn list(self) -> Form<Vec<T>> {
        let Self { shape, verbatim, secret, unseen, parse, show, .. } = self;
        let parse_all = move |text: &str| {
            let each = |part: &str| {
                let part = part.trim();
                if part.is_empty() { Err(Fault::new("has nothing between two commas")) } else { parse(part) }
            };
            text.split(',').map(each).collect()
        };
        let show_all = move |values: &Vec<T>| values.iter().map(&show).collect::<Vec<_>>().join(",");
        let shape = format!("{shape}, or several with commas between them");
        let form = Form::plain(shape, Vec::new(), parse_all, show_all).unseen(unseen);
        Form { verbatim, secret, ..form }
    }

    /// The same form, its values limited to `range`.
    pub(super) fn within(self, range: RangeInclusive<T>) -> Self
    where
        T: PartialOrd + Clone,
    {
        let Self { shape, parse, show, .. } = self;
        Self {
            shape: format!("{shape} from {} to {}", show(range.start()), show(range.end())),
            stand_in: range.start().clone(),
            parse: Box::new(move |text| {
                parse(text).and_then(|value| {
                    range.contains(&value).then_some(value).ok_or(Fault::new("is out of range"))
                })
            }),
            show,
            ..self
        }
    }
}

pub(super) fn text() -> Form<String> {
    Form::plain("text", String::new(), |text| Ok(text.to_owned()), String::clone)
        .verbatim()
        .unseen(Unseen::OfWords)
}

pub(super) fn path() -> Form<PathBuf> {
    Form::plain("a path", PathBuf::new(), |text| Ok(text.into()), |path| path.display().to_string())
        .verbatim()
        .unseen(Unseen::Lines)
}

pub(super) fn secret() -> Form<Secret> {
    let parse = |text: &str| Ok(Secret::from(text.to_owned()));
    Form::plain("the secret", Secret::from(String::new()), parse, Secret::to_string)
        .verbatim()
        .secret()
        .unseen(Unseen::Lines)
}

pub(super) fn boolean() -> Form<bool> {
    choice([("true", true), ("false", false), ("1", true), ("0", false)])
}

/// One of a few words. The first that means a value is the one that a default is shown as.
pub(super) fn choice<T: Clone + PartialEq + 'static, const N: usize>(
    table: [(&'static str, T); N],
) -> Form<T> {
    const { assert!(N > 0, "a choice needs something to choose from") };
    let words = table.each_ref().map(|(word, _)| *word);
    let stand_in = table[0].1.clone();
    let shown = table.clone();
    Form::plain(
        one_of(&words),
        stand_in,
        move |text| {
            let found = table.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| value.clone()).ok_or(Fault::new("is none of the choices"))
        },
        move |value| {
            shown
                .iter()
                .find(|(_, each)| each == value)
                .map(|(word, _)| (*word).to_owned())
                .unwrap_or_default()
        },
    )
}

fn one_of(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

pub(super) fn integer<N>(range: RangeInclusive<N>) -> Form<N>
where
    N: FromStr + PartialOrd + Clone + Display + 'static,
{
    Form::plain("a whole number", range.start().clone(), parse_integer, N::to_string).within(range)
}

fn parse_integer<N: FromStr>(text: &str) -> Result<N, Fault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|each| each.is_ascii_digit()) {
        return Err(Fault::new("is not a whole number"));
    }
    text.parse().map_err(|_| Fault::new("is out of range"))
}

/// Whatever can read itself. What its error says is not printed: it may repeat the value.
pub(super) fn parsed<T>(shape: &'static str, stand_in: T) -> Form<T>
where
    T: FromStr + Display + 'static,
{
    Form::plain(shape, stand_in, |text| text.parse().map_err(|_| Fault::new("cannot be read")), T::to_string)
}

pub(super) fn socket_address() -> Form<SocketAddr> {
    // Port 0 of the local host: harmless if it were bound.
    let stand_in = SocketAddr::from(([127, 0, 0, 1], 0));
    // A host name is refused: what it means can change between two starts.
    let parse = |text: &str| text.parse().map_err(|_| Fault::new("is not an IP address with a port"));
    Form::plain(
        "an IP address and a port such as 0.0.0.0:8080 or [::]:8080",
        stand_in,
        parse,
        SocketAddr::to_string,
    )
}

#[cfg(test)]
mod tests;
