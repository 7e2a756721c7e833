//! Code of the application that fails where nobody expects it to: it panics, or cannot write its own text. Both
//! become values. Floor 0: imports nothing of ours.
//!
//! What is called for the application is called in here wherever no caller of its own waits for it: hooks, jobs,
//! analysers and event sinks, but also the destructors of what they hold and the texts of their errors.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt::{self, Write},
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::Once,
};

/// What code of the application panicked with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Panicked {
    pub(crate) message: String,
    pub(crate) place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

impl std::error::Error for Panicked {}

thread_local! {
    /// Whether the code that runs on this thread right now is a hook whose panic will be reported.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of hooks note their place instead of printing themselves, because the report says it
/// all. Other panics go to the hook that the application has set, or where it has set none, to `tell`: the standard
/// library's would wait for whoever reads stderr. Only `run` calls it: a library must not change how the process
/// reports its panics behind the application's back.
pub(crate) fn note_places(tell: fn(&Panicked)) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        // What is taken while nobody has set one is the standard library's own.
        let own = std::panic::take_hook();
        let is_own = std::ptr::eq(&raw const *previous, &raw const *own);
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let place = info.location().map(ToString::to_string);
            if CONTAINED.get() {
                PLACE.with(|slot| *slot.borrow_mut() = place);
            } else if is_own {
                tell(&Panicked { message: message_of(info.payload()), place });
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs code of the application's that may panic.
///
/// `AssertUnwindSafe` is sound here because whatever the code had in hand is dropped, never looked at.
pub(crate) fn contain<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        let place = PLACE.take();
        let panicked = Panicked { message: message_of(payload.as_ref()), place };
        // The payload is the application's, too, and so is its destructor. What that one panics with is leaked:
        // its own destructor could go on like this for ever.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
            PLACE.take();
        }
        panicked
    });
    CONTAINED.set(outer);
    result
}

/// A value of the application's that is dropped at times and on threads which it does not choose: its destructor is
/// contained.
#[cfg(feature = "cache")]
pub(crate) struct Quiet<T>(Option<T>);

#[cfg(feature = "cache")]
impl<T> Quiet<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, which is there until this is dropped.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

#[cfg(feature = "cache")]
impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        let _unheard = contain(move || drop(value));
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    // `panic!("literal")` carries a &str, and so does a format string that the compiler could fold;
    // every other one carries a String.
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not a text".to_owned())
}

/// What stands in place of a text that its own code cannot write.
const UNSPEAKABLE: &str = "its text cannot be written";

/// What `value` says of itself. `to_string` panics where it fails to.
pub(crate) fn shown(value: &dyn fmt::Display) -> String {
    shown_at_most(value, usize::MAX)
}

/// The same, but stops `value` once it has written more than `most` bytes. It keeps up to four bytes beyond, by which a caller
/// that cuts the text there can tell that it was longer.
pub(crate) fn shown_at_most(value: &dyn fmt::Display, most: usize) -> String {
    let mut text = Bounded { text: String::new(), room: most.saturating_add(4), is_full: false };
    let written = contain(|| write!(text, "{value}"));
    let Bounded { text, is_full, .. } = text;
    let why = match written {
        Ok(Ok(())) => return text,
        Ok(Err(fmt::Error)) if is_full => return text,
        Ok(Err(fmt::Error)) => UNSPEAKABLE.to_owned(),
        Err(panicked) => format!("{UNSPEAKABLE}: {panicked}"),
    };
    if text.is_empty() { why } else { format!("{text} ({why})") }
}

struct Bounded {
    text: String,
    room: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = &text[..text.floor_char_boundary(self.room)];
        self.text.push_str(fits);
        self.room -= fits.len();
        self.is_full = fits.len() < text.len();
        if self.is_full { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::{error::Error, fmt, panic::panic_any};

    /// An error, a payload of a panic, or something that a closure holds, which fails at whatever it is asked for.
    #[derive(Debug)]
    pub(crate) struct Hostile;

    impl fmt::Display for Hostile {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }

    impl Error for Hostile {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            panic!("no source")
        }
    }

    impl Drop for Hostile {
        fn drop(&mut self) {
            panic_any(Hostile);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::Hostile, *};

    #[test]
    fn a_payload_whose_destructor_panics_is_contained_with_its_panic() {
        let outcome = contain(|| std::panic::panic_any(Hostile));
        assert_eq!(outcome.map(|(): ()| ()).unwrap_err().message, "a value that is not a text");
    }

    /// Writes something, and then does not write the rest.
    struct Unspeakable(fn() -> fmt::Result);

    impl fmt::Display for Unspeakable {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("disk on fi")?;
            (self.0)()
        }
    }

    #[test]
    fn a_value_that_cannot_write_its_text_says_what_it_could_and_that_it_could_not() {
        assert_eq!(shown(&Unspeakable(|| Ok(()))), "disk on fi");
        assert_eq!(shown(&Unspeakable(|| Err(fmt::Error))), "disk on fi (its text cannot be written)");
        let panicking = shown(&Unspeakable(|| panic!("on purpose")));
        assert_eq!(panicking, "disk on fi (its text cannot be written: panicked: on purpose)");
    }

    #[test]
    fn a_text_without_an_end_is_stopped_once_enough_is_written() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again ")?;
                }
            }
        }
        assert_eq!(shown_at_most(&Endless, 11), "again again aga");
    }
}
