use super::*;

#[test]
fn a_url_shows_its_scheme_host_and_port_alone() {
    for (text, shown) in [
        ("http://example.com", "http://example.com:80"),
        ("HTTPS://Example.COM/", "https://example.com:443"),
        ("https://a.b:8443/path?token=x#y", "https://a.b:8443"),
        ("https://user:pa@ss@host_1/", "https://host_1:443"),
        ("http://[2001:DB8::1]:8080/x", "http://[2001:db8::1]:8080"),
        ("http://[::1]", "http://[::1]:80"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://localhost.:80", "http://localhost.:80"),
        ("http://host?key=a@b", "http://host:80"),
        ("http://host/a:b@c", "http://host:80"),
    ] {
        let url: HttpUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), shown, "{text}");
        assert_eq!(format!("{url:?}"), format!("HttpUrl({shown})"));
        assert_eq!((url.expose(), url.is_https()), (text, shown.starts_with("https")));
    }
}

#[test]
fn what_is_no_plain_web_address_is_refused() {
    for (text, what) in [
        ("example.com", "has no http:// or https:// in front"),
        ("http:example.com", "has no http:// or https:// in front"),
        ("ftp://example.com", "is neither http nor https"),
        ("tcp://10.0.0.1:80", "is neither http nor https"),
        ("http://", "has no valid host"),
        ("http:///path", "has no valid host"),
        ("http://:80", "has no valid host"),
        ("http://user@/", "has no valid host"),
        ("http://a..b", "has no valid host"),
        ("http://.", "has no valid host"),
        ("http://a%2e", "has no valid host"),
        ("http://<host>", "has no valid host"),
        ("http://[::1", "has no valid host"),
        ("http://[::1]x", "has no valid host"),
        ("http://[fe80::1%25eth0]", "has no valid host"),
        ("http://127.1", "has no valid host"),
        ("http://0x7f000001", "has no valid host"),
        ("http://2130706433", "has no valid host"),
        ("http://0177.0.0.1", "has no valid host"),
        ("http://1.2.3.256", "has no valid host"),
        ("http://host:", "has a port that is not from 1 to 65535"),
        ("http://host:0", "has a port that is not from 1 to 65535"),
        ("http://host:+80", "has a port that is not from 1 to 65535"),
        ("http://host:65536", "has a port that is not from 1 to 65535"),
        ("http://host:80:80", "has a port that is not from 1 to 65535"),
        ("http://good.com\\@evil.com", "holds a character that must be percent-encoded"),
        ("http://h\u{f6}st", "holds a character that must be percent-encoded"),
        ("http://ho st", "holds a character that must be percent-encoded"),
        ("http://host/\n", "holds a character that must be percent-encoded"),
    ] {
        assert_eq!(text.parse::<HttpUrl>(), Err(InvalidUrl(what)), "{text}");
    }
}

/// The probe's report names the host that this file found; the request goes where `reqwest` reads it.
#[cfg(feature = "http-session")]
mod agreement {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_client_never_reads_another_host_or_port_from_an_accepted_url(
            text in r"[hH]ttps?://[a-z0-9xX:@.\[\]/?#%_~-]{0,16}(:[0-9]{1,5})?[/?#@a-z0-9]{0,6}",
        ) {
            let (Ok(ours), Ok(theirs)) = (text.parse::<HttpUrl>(), reqwest::Url::parse(&text)) else {
                return Ok(());
            };
            let host = theirs.host_str().unwrap_or_default().trim_matches(['[', ']']);
            prop_assert_eq!((ours.host(), Some(ours.port())), (host, theirs.port_or_known_default()), "{}", text);
        }
    }
}
