//! Which redirects are followed.

use reqwest::{Url, redirect::Policy};

use super::failure::shown;

/// Why a redirect is not followed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Astray {
    #[error("they lead in a circle")]
    Circle,
    #[error("there are more than {0} of them")]
    TooMany(usize),
    #[error("one leads from https to http")]
    Downgrade,
    #[error("one leads to something that is neither http nor https")]
    OtherScheme,
    #[error("one leads to {0}")]
    Elsewhere(String),
}

/// At most `limit` redirects, none in a circle, none that gives up the encryption, and none to another service unless
/// `anywhere` is allowed. With a limit of zero the redirect itself is the answer.
pub(super) fn policy(limit: usize, anywhere: bool) -> Policy {
    if limit == 0 {
        return Policy::none();
    }
    Policy::custom(move |attempt| match judge(attempt.previous(), attempt.url(), limit, anywhere) {
        Ok(()) => attempt.follow(),
        Err(astray) => attempt.error(astray),
    })
}

fn judge(previous: &[Url], next: &Url, limit: usize, anywhere: bool) -> Result<(), Astray> {
    if !["http", "https"].contains(&next.scheme()) {
        return Err(Astray::OtherScheme);
    }
    if previous.last().is_some_and(|last| last.scheme() == "https") && next.scheme() != "https" {
        return Err(Astray::Downgrade);
    }
    // Whoever answers could otherwise send the service to addresses that only it reaches, such as
    // `http://169.254.169.254/` (OWASP, Server-Side Request Forgery Prevention).
    if !anywhere && previous.last().is_some_and(|last| !is_one_service(last, next)) {
        return Err(Astray::Elsewhere(shown(next)));
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

/// The same host and port, or the same host with the encryption added that a web server asks for.
fn is_one_service(from: &Url, to: &Url) -> bool {
    let port = Url::port_or_known_default;
    let is_upgrade = (from.scheme(), to.scheme()) == ("http", "https");
    from.host_str() == to.host_str() && (port(from) == port(to) || is_upgrade && to.port().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(urls: &[&str], limit: usize) -> Result<(), Astray> {
        judged(urls, limit, true)
    }

    fn judged(urls: &[&str], limit: usize, anywhere: bool) -> Result<(), Astray> {
        let mut urls: Vec<Url> = urls.iter().map(|url| Url::parse(url).unwrap()).collect();
        let next = urls.pop().unwrap();
        judge(&urls, &next, limit, anywhere)
    }

    #[test]
    fn another_host_or_port_is_another_service_and_encryption_added_is_not() {
        for (from, to, ok) in [
            ("http://a/", "http://A/x", true),
            ("http://a/", "https://a/", true),
            ("http://a:8080/", "https://a/", true),
            ("http://a:80/", "http://a/", true),
            ("http://a/", "https://a:8443/", false),
            ("http://a/", "http://a:81/", false),
            ("https://a/", "https://www.a/", false),
            ("http://127.0.0.1/", "http://localhost/", false),
            ("http://a/", "http://169.254.169.254/latest/meta-data?x", false),
        ] {
            assert_eq!(judged(&[from, to], 5, false).is_ok(), ok, "{from} to {to}");
            assert_eq!(judged(&[from, to], 5, true), Ok(()));
        }
        let error = judged(&["http://a/", "http://u:hunter2@b/hunter2"], 5, false).unwrap_err();
        assert_eq!(error.to_string(), "one leads to http://b:80");
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
