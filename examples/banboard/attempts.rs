//! How often somebody may try to log in.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// What is counted together.
const WINDOW: Duration = Duration::from_mins(1);

/// Attempts of one address within the window.
const PER_ADDRESS: u32 = 5;

/// Attempts of everybody together. Whoever has many addresses can use them up and so keep others from logging
/// in for a minute; that is better than letting them guess.
const IN_ALL: u32 = 30;

/// Counts attempts in windows of a minute. It cannot grow beyond the attempts that it admits.
#[derive(Default, Debug)]
pub(crate) struct Attempts {
    all: Option<Window>,
    by_address: HashMap<IpAddr, Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    begins: Instant,
    count: u32,
}

impl Attempts {
    /// Counts an attempt.
    ///
    /// # Errors
    /// How long to wait, where there were too many; such an attempt is not counted.
    pub(crate) fn admit(&mut self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        self.by_address.retain(|_, window| window.left(now).is_some());
        let begin = Window { begins: now, count: 0 };
        let all = self.all.filter(|window| window.left(now).is_some()).unwrap_or(begin);
        let network = network_of(from);
        let own = self.by_address.get(&network).copied().unwrap_or(begin);
        for (window, limit) in [(own, PER_ADDRESS), (all, IN_ALL)] {
            if window.count >= limit {
                return Err(window.left(now).unwrap_or_default());
            }
        }
        self.all = Some(Window { count: all.count + 1, ..all });
        self.by_address.insert(network, Window { count: own.count + 1, ..own });
        Ok(())
    }

    /// Begins anew for an address that knew the password.
    pub(crate) fn forgive(&mut self, from: IpAddr) {
        self.by_address.remove(&network_of(from));
    }
}

impl Window {
    fn left(self, now: Instant) -> Option<Duration> {
        WINDOW.checked_sub(now.saturating_duration_since(self.begins)).filter(|left| !left.is_zero())
    }
}

/// One customer of a provider has a whole /64 of IPv6 addresses to try from.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_five_attempts_a_minute_and_others_have_theirs() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _attempt in 0..PER_ADDRESS {
            assert_eq!(attempts.admit(address("192.0.2.1"), now), Ok(()));
        }
        assert_eq!(attempts.admit(address("::ffff:192.0.2.1"), now + WINDOW / 4), Err(WINDOW * 3 / 4));
        assert_eq!(attempts.admit(address("192.0.2.2"), now), Ok(()));
        assert_eq!(attempts.admit(address("192.0.2.1"), now + WINDOW), Ok(()));
    }

    #[test]
    fn many_addresses_together_are_limited_and_do_not_fill_the_memory() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let admitted = (0..10_000_u32).filter(|each| {
            let from = IpAddr::V6(Ipv6Addr::from_bits(u128::from(*each) << 64));
            attempts.admit(from, now).is_ok()
        });
        assert_eq!(admitted.count(), usize::try_from(IN_ALL).unwrap());
        assert!(attempts.by_address.len() <= usize::try_from(IN_ALL).unwrap());
    }

    #[test]
    fn a_network_of_ipv6_addresses_counts_as_one() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let tries = (0..20_u32).map(|each| attempts.admit(address(&format!("2001:db8::{each:x}")), now));
        assert_eq!(tries.filter(Result::is_ok).count(), usize::try_from(PER_ADDRESS).unwrap());
    }

    #[test]
    fn who_knew_the_password_begins_anew() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _attempt in 0..PER_ADDRESS {
            attempts.admit(address("192.0.2.1"), now).unwrap();
        }
        attempts.forgive(address("192.0.2.1"));
        assert_eq!(attempts.admit(address("192.0.2.1"), now), Ok(()));
    }
}
