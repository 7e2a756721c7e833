//! `NO_PROXY`: which hosts are asked without a proxy.
//!
//! No standard says how it is written. It is read as curl does
//! (<https://curl.se/libcurl/c/CURLOPT_NOPROXY.html>), with what Go adds
//! (<https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>): ports, brackets, and `*` among others. reqwest's own
//! reader knows no ports, and `*` only for names.

use std::net::IpAddr;

use reqwest::Url;

/// The hosts, and what of the text says nothing.
#[derive(Clone, Default, Debug)]
pub(super) struct NoProxy {
    entries: Vec<Entry>,
    /// What was not understood.
    pub(super) unknown: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    host: Host,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Host {
    Every,
    /// A name and all names below it, in small letters.
    Name(String),
    /// Addresses that begin with as many bits as these.
    Network(IpAddr, u32),
}

impl NoProxy {
    /// Reads what commas or blanks separate.
    pub(super) fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for each in text.split([',', ' ', '\t', '\n']).filter(|each| !each.is_empty()) {
            match entry(each) {
                Some(entry) => read.entries.push(entry),
                None => read.unknown.push(each.to_owned()),
            }
        }
        read
    }

    /// Whether requests to this URL go without a proxy.
    pub(super) fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let name = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let (address, port) = (name.parse().ok().map(plain), url.port_or_known_default());
        self.entries.iter().any(|entry| {
            let same_port = entry.port.is_none_or(|only| Some(only) == port);
            same_port
                && match (&entry.host, address) {
                    (Host::Every, _) => true,
                    (Host::Network(network, bits), Some(address)) => is_within(address, *network, *bits),
                    // A name is not an address' suffix: `2` is not the network of `192.0.2.2`.
                    (Host::Name(suffix), None) => name
                        .strip_suffix(suffix.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
                    (Host::Network(..), None) | (Host::Name(_), Some(_)) => false,
                }
        })
    }
}

fn entry(text: &str) -> Option<Entry> {
    if let Some(host) = network(text) {
        return Some(Entry { host, port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (text, None),
    };
    let host = match host {
        "*" => Host::Every,
        host => network(host).or_else(|| name(host))?,
    };
    Some(Entry { host, port })
}

/// `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`, `[2001:db8::1]`, `[2001:db8::]/32`.
fn network(text: &str) -> Option<Host> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let given: IpAddr = bare.parse().ok()?;
    if bare.len() < address.len() && given.is_ipv4() {
        return None;
    }
    let all = if given.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|bits| *bits <= all))?;
    let address = plain(given);
    // A network of IPv4 in the form of IPv6 (RFC 4291, section 2.5.5.2).
    let bits = if address.is_ipv4() && all == 128 { bits.checked_sub(96)? } else { bits };
    Some(Host::Network(address, bits))
}

/// `example.com` or `.example.com`, which are the same to curl, or `*.example.com`. Go leaves `example.com` itself out of
/// the last two.
fn name(text: &str) -> Option<Host> {
    let name = text.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(text);
    let name = name.strip_prefix('.').unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|each| each.is_ascii_alphanumeric() || b"-_".contains(&each))
    };
    name.split('.').all(is_label).then(|| Host::Name(name.to_ascii_lowercase()))
}

/// One address has one form.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differ.leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of both documents, and where the two differ, curl's.
    #[test]
    fn hosts_are_covered_as_curl_and_go_document_it() {
        for (list, direct, proxied) in [
            ("*", &["http://a/", "http://192.0.2.1/", "http://[::1]:80/"][..], &[][..]),
            ("a.test, *", &["http://b.test/"], &[]),
            ("*:8080", &["http://b.test:8080/"], &["http://b.test/"]),
            (
                "example.com",
                &["http://example.com/", "https://www.EXAMPLE.com:444/", "http://example.com./"],
                &["http://badexample.com/", "http://example.com.evil.test/"],
            ),
            (
                ".example.com",
                &["http://example.com/", "http://a.b.example.com/"],
                &["http://badexample.com/"],
            ),
            ("*.example.com", &["http://a.example.com/"], &["http://example.org/"]),
            ("Example.COM.", &["http://www.example.com/"], &[]),
            (
                "foo.com:80",
                &["http://foo.com/", "http://x.foo.com:80/"],
                &["https://foo.com/", "http://foo.com:81/"],
            ),
            ("192.0.2.1", &["http://192.0.2.1:99/"], &["http://192.0.2.10/", "http://1.192.0.2.1.test/"]),
            ("192.0.2.1:80", &["http://192.0.2.1/"], &["http://192.0.2.1:81/"]),
            ("192.0.2.0/24", &["http://192.0.2.255/"], &["http://192.0.3.0/", "http://192.0.2.1.test/"]),
            ("10.0.0.0/8 a.test", &["http://10.1.2.3/", "http://a.test/"], &["http://11.0.0.0/"]),
            ("0.0.0.0/0", &["http://198.51.100.1/"], &["http://[2001:db8::1]/"]),
            ("::1", &["http://[::1]:8080/"], &["http://[::2]/"]),
            ("[::1]", &["http://[::1]/", "http://[0:0::1]/"], &[]),
            ("[::1]:80", &["http://[::1]/"], &["http://[::1]:81/"]),
            ("2001:db8::/32", &["http://[2001:db8:ffff::1]/"], &["http://[2001:db9::]/"]),
            ("[2001:db8::]/32", &["http://[2001:db8::1]/"], &[]),
            ("::ffff:192.0.2.1", &["http://192.0.2.1/"], &[]),
            ("127.0.0.1,,", &["http://127.0.0.1/"], &["http://localhost/"]),
            ("localhost", &["http://localhost:8080/"], &["http://127.0.0.1/"]),
            ("2", &[], &["http://192.0.2.2/"]),
        ] {
            let read = NoProxy::parse(list);
            assert!(read.unknown.is_empty(), "{list}: {:?}", read.unknown);
            for (urls, covered) in [(direct, true), (proxied, false)] {
                for url in urls {
                    let parsed = Url::parse(url).unwrap();
                    assert_eq!(read.covers(&parsed), covered, "{list}: {url}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_kept_by_name_and_covers_nothing() {
        let list = "10.0.0.0/33,foo*bar,http://x,a:b,a:0,[192.0.2.1],*com,good.test";
        let read = NoProxy::parse(list);
        assert_eq!(read.unknown.len(), 7, "{:?}", read.unknown);
        assert_eq!(read.entries.len(), 1);
    }
}
