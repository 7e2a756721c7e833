//! `healthcheck`: how the service is that runs beside this process, in one line and the exit code 0 or 1.
//!
//! It reads one small file: no network, no lock, no database, so that it answers in milliseconds and in an
//! image that holds nothing but the program.

use rustix::process::geteuid;

use super::print;
use crate::{
    contract::state::format_elapsed,
    report::printable,
    run::{health_file::Health, health_place::Places},
    startup::Startup,
};

/// What is asked about the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    /// Whether it runs at all, in whatever state.
    Live,
    /// Whether requests should come here.
    Ready,
    /// Whether its start is over.
    Startup,
}

/// Tells how the service is. 0 where the answer is yes, 1 otherwise; Docker reserves every other code.
pub(super) fn answer(startup: &Startup, probe: Probe) -> u8 {
    let places = Places::of(startup);
    let (line, yes) = match places.read() {
        Some(health) => judge(&health, probe),
        None => (nothing_said(startup.name(), &places), false),
    };
    print(&format!("{}\n", printable(&line)));
    u8::from(!yes)
}

/// Why there may be nothing to read for this user.
fn nothing_said(service: &str, places: &Places) -> String {
    let user = geteuid();
    let mut why = format!("not running: nothing was said to uid {user}");
    let others = places.of_others();
    if let Some((_, other)) = others.first() {
        let named: Vec<_> =
            others.iter().map(|(dir, other)| format!("{} belongs to uid {other}", dir.display())).collect();
        why += &format!("; {}", named.join(", "));
        why += &format!("; ask as that user: setpriv --reuid {other} --clear-groups {service} healthcheck");
        return why;
    }
    let taken: Vec<_> = places.taken().iter().map(ToString::to_string).collect();
    if !taken.is_empty() {
        why += &format!("; {}", taken.join(", "));
    }
    why + "; the service's log has the reason"
}

fn judge(health: &Health, probe: Probe) -> (String, bool) {
    let Some(age) = health.age() else {
        return (
            format!("not running: process {} ended or hangs; its last word was: {}", health.pid, health.line),
            false,
        );
    };
    let yes = match probe {
        Probe::Live => true,
        Probe::Ready => health.ready,
        Probe::Startup => health.started,
    };
    (format!("{}, said {} ago", health.line, format_elapsed(age)), yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::boot_time;

    fn said(started: bool, ready: bool) -> Health {
        let at_ms = u64::try_from(boot_time().as_millis()).unwrap();
        Health { pid: std::process::id(), at_ms, started, ready, line: "starting: cache".to_owned() }
    }

    #[test]
    fn each_probe_asks_its_own_question() {
        let (starting, degraded, ready) = (said(false, false), said(true, false), said(true, true));
        let answers =
            |health| [Probe::Live, Probe::Startup, Probe::Ready].map(|probe| judge(health, probe).1);
        assert_eq!(answers(&starting), [true, false, false]);
        assert_eq!(answers(&degraded), [true, true, false]);
        assert_eq!(answers(&ready), [true, true, true]);
    }

    #[test]
    fn silence_is_never_health() {
        for probe in [Probe::Live, Probe::Ready, Probe::Startup] {
            let old = Health { at_ms: 0, ..said(true, true) };
            let (line, yes) = judge(&old, probe);
            assert!(!yes && line.starts_with("not running") && line.contains("cache"), "{line}");
        }
    }
}
