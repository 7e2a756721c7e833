//! How long the holder of a lease may be silent, and when it stops by itself.

use std::time::Duration;

use crate::settings::Env;

/// The limits that an operator may set a lease to. Shorter ones would be broken by any busy moment of the
/// machine, longer ones would keep a restart waiting for ever.
pub(super) const TTL_MIN: Duration = Duration::from_millis(200);
pub(super) const TTL_MAX: Duration = Duration::from_hours(1);
const RENEW_MIN: Duration = Duration::from_millis(10);

/// The times of a lease. `soft` and `hard` count from when the last acknowledged renewal was sent.
///
/// It always holds that `renew + 2 * attempt <= soft < hard <= 0.8 * ttl`: two renewals in a row may time
/// out before the right is in doubt, and the process has ended a fifth of the time before somebody else
/// may take over, which is what two clocks of different rates may differ by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timings {
    /// After this time without a renewal the holder counts as gone.
    pub(crate) ttl: Duration,
    /// How often it renews.
    pub(crate) renew: Duration,
    /// How long one renewal may wait for the store.
    pub(crate) attempt: Duration,
    /// When the right ends: `check()` fails, and the service stops in order.
    pub(crate) soft: Duration,
    /// When the process must have ended.
    pub(crate) hard: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { ttl: seconds(15), renew: seconds(3), attempt: seconds(2), soft: seconds(9), hard: seconds(12) }
    }
}

impl Timings {
    /// The times for what is set, the rest in the proportions of the default.
    ///
    /// # Errors
    /// The relation that the times would break, with its numbers.
    pub(crate) fn new(ttl: Option<Duration>, renew: Option<Duration>) -> Result<Self, String> {
        let ttl = ttl.unwrap_or(Self::default().ttl);
        let renew = renew.unwrap_or(ttl / 5);
        let times = Self { ttl, renew, attempt: renew * 2 / 3, soft: ttl * 3 / 5, hard: ttl * 4 / 5 };
        times.validate().map(|()| times)
    }

    /// Reads `<P>_LEASE_TTL` and `<P>_LEASE_RENEW`. What is wrong with them is recorded in the environment, as
    /// with every other variable.
    pub(crate) fn from_env(env: &Env) -> Self {
        let ttl = env
            .var("LEASE_TTL")
            .describe("How long a worker that is silent still counts as running (15s unless set).")
            .example("30s")
            .duration()
            .within(TTL_MIN..=TTL_MAX)
            .optional();
        let renew = env
            .var("LEASE_RENEW")
            .describe("How often the worker says that it is running (a fifth of LEASE_TTL unless set).")
            .example("5s")
            .duration()
            .within(RENEW_MIN..=TTL_MAX)
            .optional();
        Self::new(ttl, renew).unwrap_or_else(|broken| {
            let name = env.full_name(if renew.is_some() { "LEASE_RENEW" } else { "LEASE_TTL" });
            let remedy = "write at most a quarter of the LEASE_TTL, or leave it unset for a fifth";
            env.problem(&name, broken, remedy);
            Self::default()
        })
    }

    fn validate(&self) -> Result<(), String> {
        let Self { ttl, renew, attempt, soft, hard } = *self;
        let needed = renew + 2 * attempt;
        let broken = |relation: &str, left: Duration, right: Duration| {
            Err(format!("breaks {relation} of the lease: {left:?} against {right:?}"))
        };
        match () {
            () if needed > soft => broken("renew + 2 * attempt <= soft", needed, soft),
            () if soft >= hard => broken("soft < hard", soft, hard),
            () if hard > ttl * 4 / 5 => broken("hard <= 0.8 * ttl", hard, ttl * 4 / 5),
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn unset_times_are_the_documented_ones_and_a_set_one_keeps_their_proportions() {
        assert_eq!(Timings::new(None, None), Ok(Timings::default()));
        let half = Timings {
            ttl: ms(500),
            renew: ms(100),
            attempt: Duration::from_nanos(66_666_666),
            soft: ms(300),
            hard: ms(400),
        };
        assert_eq!(Timings::new(Some(ms(500)), None), Ok(half));
        let often = Timings { renew: ms(1500), attempt: ms(1000), ..Timings::default() };
        assert_eq!(Timings::new(None, Some(ms(1500))), Ok(often));
    }

    #[test]
    fn every_length_of_lease_keeps_the_relations() {
        for milliseconds in (200..5_000).chain([59_999, 3_600_000]) {
            Timings::new(Some(ms(milliseconds)), None).unwrap();
        }
    }

    #[test]
    fn the_relation_that_breaks_is_named_with_its_numbers() {
        let text = Timings::new(None, Some(ms(6_000))).unwrap_err();
        assert_eq!(text, "breaks renew + 2 * attempt <= soft of the lease: 14s against 9s");
        let wrong = Timings { soft: ms(12_000), ..Timings::default() };
        assert_eq!(wrong.validate().unwrap_err(), "breaks soft < hard of the lease: 12s against 12s");
        let wrong = Timings { hard: ms(12_001), ..Timings::default() };
        assert_eq!(
            wrong.validate().unwrap_err(),
            "breaks hard <= 0.8 * ttl of the lease: 12.001s against 12s"
        );
    }

    #[test]
    fn the_environment_sets_the_times_and_lists_what_is_wrong_with_them() {
        let env = |vars: &[(&str, &str)]| Env::from_vars("SHOP", vars.iter().copied());
        let short = env(&[("SHOP_LEASE_TTL", "1s"), ("SHOP_LEASE_RENEW", "100ms")]);
        let times = Timings::from_env(&short);
        assert_eq!((times.ttl, times.renew, times.soft), (ms(1_000), ms(100), ms(600)));
        assert!(short.check().is_ok());

        let wrong = env(&[("SHOP_LEASE_TTL", "10s"), ("SHOP_LEASE_RENEW", "5s")]);
        assert_eq!(Timings::from_env(&wrong), Timings::default());
        let text = wrong.check().unwrap_err().to_string();
        assert!(text.contains("SHOP_LEASE_RENEW: breaks renew + 2 * attempt <= soft"), "{text}");
        let tiny = env(&[("SHOP_LEASE_TTL", "50ms")]);
        Timings::from_env(&tiny);
        assert!(tiny.check().unwrap_err().to_string().contains("from 200ms to 1h"));
    }
}
