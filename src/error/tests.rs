use super::*;
use crate::codes;

#[derive(Debug, thiserror::Error)]
#[error("cannot read the key")]
struct Outer(#[source] io::Error);

#[test]
fn the_chain_lists_every_cause_once_and_outermost_first() {
    let error = StageError::from(Outer(io::Error::other("disk on fire")));
    assert_eq!(error.chain(), ["cannot read the key", "disk on fire"]);
    assert_eq!(error.to_string(), "cannot read the key: disk on fire");
}

/// An error that fails at everything that an error is asked for.
#[derive(Debug)]
struct Hostile(u32);

impl fmt::Display for Hostile {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Err(fmt::Error) } else { panic!("no text") }
    }
}

impl Error for Hostile {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        panic!("no source")
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        std::panic::panic_any(Hostile(self.0 + 1));
    }
}

#[test]
fn an_error_that_cannot_be_shown_asked_or_dropped_is_an_error_like_any_other() {
    for (failing, expected) in
        [(0, "its text cannot be written"), (1, "its text cannot be written: panicked")]
    {
        let error = StageError::from(Hostile(failing)).hint("call somebody");
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(format!("{error:?}").contains("Hostile"));
        assert!(error.find::<io::Error>().is_none());
        drop(error);
    }
}

#[test]
fn a_chain_without_an_end_is_followed_for_a_while() {
    static AGAIN: Endless = Endless;
    #[derive(Debug)]
    struct Endless;
    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("again")
        }
    }
    impl Error for Endless {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&AGAIN)
        }
    }
    assert_eq!(StageError::from(Endless).chain(), ["again"]);
}

#[test]
fn an_error_of_the_system_is_found_whatever_it_is_wrapped_in() {
    #[derive(Debug, thiserror::Error)]
    #[error("shared")]
    struct Shared(#[source] Arc<io::Error>);
    #[derive(Debug, thiserror::Error)]
    #[error("boxed")]
    struct Boxed(#[source] Box<io::Error>);
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let wrapped: [StageError; 8] = [
        full().into(),
        io::Error::other(full()).into(),
        io::Error::other(io::Error::other(Outer(full()))).into(),
        Box::new(full()).into(),
        Arc::new(full()).into(),
        Shared(Arc::new(full())).into(),
        Boxed(Box::new(io::Error::other(full()))).into(),
        io::Error::other(Shared(Arc::new(io::Error::other(Outer(full()))))).into(),
    ];
    for (nth, error) in wrapped.iter().enumerate() {
        let mut found = error.causes().filter_map(as_error::<io::Error>);
        assert!(found.any(|error| error.kind() == io::ErrorKind::StorageFull), "{nth}: {error:?}");
        assert!(error.find::<io::Error>().is_some(), "{nth}");
    }
}

#[test]
fn a_plain_error_is_retryable_until_it_is_called_fatal_or_permanent() {
    assert!(StageError::from("x").is_retryable());
    assert!(!StageError::from("x").fatal().is_retryable());
    assert!(!StageError::from("x").kind(ErrorKind::Config).is_retryable());
    assert!(StageError::from("x").kind(ErrorKind::Config).retryable().is_retryable());
    assert!(StageError::new(codes::HTTP_CONNECT, "x").is_retryable());
    assert!(!StageError::new(codes::DB_CORRUPT, "x").is_retryable());
}

#[test]
fn a_code_of_the_library_has_one_exit_code_whatever_kind_an_error_is_given() {
    for (code, kind) in codes::ALL.iter().flat_map(|code| ErrorKind::ALL.map(|kind| (*code, kind))) {
        let error = StageError::new(code, "x").kind(kind);
        let now = error.failure_code();
        assert_eq!((error.error_kind(), now.kind), (kind, kind), "{code:?}");
        assert!(code.kind != kind || now == code, "{code:?} was lost for nothing");
        assert!(codes::ALL.contains(&now));
    }
}

#[test]
fn a_code_of_the_application_keeps_its_name_with_another_kind() {
    let own = FailureCode::new("shop.licence", ErrorKind::Config, "No licence");
    let error = StageError::new(own, "x").kind(ErrorKind::Temporary);
    assert_eq!((error.failure_code(), error.error_kind()), (own, ErrorKind::Temporary));
}
