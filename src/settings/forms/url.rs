//! Addresses of web services. Read by hand: the `url` crate brings the Unicode tables of international
//! names with it, and the core must build without `reqwest`, which is what needs it.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::{Fault, Form};

/// An `http` or `https` URL that prints as its scheme, host and port only.
///
/// User name, password, path and query can all be secrets (the path of a chat webhook is one), so only
/// [`HttpUrl::expose`] gives them.
///
/// ```
/// let url: solostart::HttpUrl = "https://user:pass@API.example.com/hook?key=1".parse()?;
/// assert_eq!(url.to_string(), "https://api.example.com:443");
/// assert_eq!(url.expose(), "https://user:pass@API.example.com/hook?key=1");
/// # Ok::<(), solostart::InvalidUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Why a text is not an `http` or `https` URL. Never contains the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the URL {0}")]
pub struct InvalidUrl(&'static str);

impl HttpUrl {
    /// The whole URL, as it was written. It may contain secrets.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The host's name in small letters, or its address; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port: 80 or 443 where the URL names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HttpUrl {
    type Err = InvalidUrl;

    /// Stricter than a browser, so that no two programs can read one URL as two different hosts: ASCII
    /// only, no backslash, a host of letters, digits, `-`, `_` and `.`, and no short or octal IPv4 address.
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if !text.bytes().all(|each| each.is_ascii_graphic() && each != b'\\') {
            return Err(InvalidUrl("holds a character that must be percent-encoded"));
        }
        let (scheme, rest) =
            text.split_once("://").ok_or(InvalidUrl("has no http:// or https:// in front"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(InvalidUrl("is neither http nor https")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // A password may contain `@`, a host cannot, so the last one separates them.
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = split_place(place)?;
        let port = match port {
            None if scheme == Scheme::Http => 80,
            None => 443,
            Some(digits) => parse_port(digits).ok_or(InvalidUrl("has a port that is not from 1 to 65535"))?,
        };
        Ok(Self { text: text.to_owned(), scheme, host, port })
    }
}

fn split_place(place: &str) -> Result<(String, Option<&str>), InvalidUrl> {
    const BAD_HOST: InvalidUrl = InvalidUrl("has no valid host");
    if let Some(rest) = place.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(BAD_HOST)?;
        let address: Ipv6Addr = address.parse().map_err(|_| BAD_HOST)?;
        let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(BAD_HOST)?) };
        return Ok((address.to_string(), port));
    }
    let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
    if is_host(host) { Ok((host.to_ascii_lowercase(), port)) } else { Err(BAD_HOST) }
}

fn is_host(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let labels_fit = name.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|each| each.is_ascii_alphanumeric() || b"-_".contains(&each))
    });
    // A browser takes a name that ends in a number for an IPv4 address, in decimal, octal or hexadecimal
    // (URL Standard, "ends in a number checker"). Only the plain form is accepted.
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric =
        last.starts_with("0x") || last.starts_with("0X") || last.bytes().all(|each| each.is_ascii_digit());
    labels_fit && (!numeric || host.parse::<Ipv4Addr>().is_ok())
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|each| each.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|port| *port != 0)
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https() { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

pub(in crate::settings) fn url() -> Form<HttpUrl> {
    // `.invalid` never resolves (RFC 6761, section 6.4).
    let stand_in = HttpUrl {
        text: "http://unset.invalid".to_owned(),
        scheme: Scheme::Http,
        host: "unset.invalid".to_owned(),
        port: 80,
    };
    let parse = |text: &str| text.parse().map_err(|InvalidUrl(what)| Fault::new(what));
    Form::plain("an http or https URL", stand_in, parse, HttpUrl::to_string).secret()
}

#[cfg(test)]
mod tests;
