//! Which redirects are followed.

use reqwest::{Url, redirect::Policy};

/// Why a redirect is not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Astray {
    #[error("they lead in a circle")]
    Circle,
    #[error("there are more than {0} of them")]
    TooMany(usize),
    #[error("one leads from https to http")]
    Downgrade,
}

/// At most `limit` redirects, none in a circle, none that gives up the encryption. With a limit of zero the
/// redirect itself is the answer.
pub(super) fn policy(limit: usize) -> Policy {
    if limit == 0 {
        return Policy::none();
    }
    Policy::custom(move |attempt| match judge(attempt.previous(), attempt.url(), limit) {
        Ok(()) => attempt.follow(),
        Err(astray) => attempt.error(astray),
    })
}

fn judge(previous: &[Url], next: &Url, limit: usize) -> Result<(), Astray> {
    if previous.last().is_some_and(|last| last.scheme() == "https") && next.scheme() != "https" {
        return Err(Astray::Downgrade);
    }
    // One return is no circle: the answer to a form can lead back to it.
    if previous.iter().filter(|each| *each == next).count() > 1 {
        return Err(Astray::Circle);
    }
    // The first is what was asked for, and no redirect.
    if previous.len() > limit {
        return Err(Astray::TooMany(limit));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(urls: &[&str], limit: usize) -> Result<(), Astray> {
        let mut urls: Vec<Url> = urls.iter().map(|url| Url::parse(url).unwrap()).collect();
        let next = urls.pop().unwrap();
        judge(&urls, &next, limit)
    }

    #[test]
    fn a_url_that_comes_for_the_third_time_is_a_circle() {
        assert_eq!(verdict(&["http://a/", "http://a/"], 5), Ok(()));
        assert_eq!(verdict(&["http://a/", "http://a/", "http://a/"], 5), Err(Astray::Circle));
        assert_eq!(verdict(&["http://a/", "http://b/", "http://a/", "http://b/"], 5), Ok(()));
        let circle = ["http://a/", "http://b/", "http://a/", "http://b/", "http://a/"];
        assert_eq!(verdict(&circle, 5), Err(Astray::Circle));
        assert_eq!(verdict(&["http://a/", "http://a/?1", "http://a/?2", "http://a/?3"], 5), Ok(()));
    }

    #[test]
    fn the_limit_counts_redirects() {
        assert_eq!(verdict(&["http://a/", "http://b/"], 1), Ok(()));
        assert_eq!(verdict(&["http://a/", "http://b/", "http://c/"], 1), Err(Astray::TooMany(1)));
    }

    #[test]
    fn encryption_is_not_given_up() {
        assert_eq!(verdict(&["http://a/", "https://a/"], 5), Ok(()));
        assert_eq!(verdict(&["http://a/", "https://a/", "http://a/x"], 5), Err(Astray::Downgrade));
    }
}
