//! Reads the lines of fail2ban's own log.
//!
//! The format is that of `fail2ban/helpers.py` (`%(asctime)s %(name)-24s[%(process)d]: %(levelname)-7s
//! %(message)s`) and the messages are those of `fail2ban/server/{actions,observer,jail,server}.py`, version 1.1.
//! Much of a line was chosen by whoever attacks the host, so a message counts only where fail2ban's own
//! component wrote it and only if all of it is understood.
//!
//! fail2ban writes local time without a zone. It is taken as UTC.

use jiff::{civil::DateTime, tz::TimeZone};

use crate::networks::Network;

/// Milliseconds since 1970, on the log's own clock.
pub(crate) type Millis = i64;

/// The longest jail name that is believed.
const JAIL_LIMIT: usize = 64;

/// What one line says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Millis,
    pub(crate) event: Event,
}

/// Who is banned where: an address, or a network.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Target {
    pub(crate) jail: String,
    pub(crate) address: Network,
}

/// The messages that the board is made from. `None` as a time or a length means for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A new ban.
    Banned(Target),
    /// A ban from before fail2ban's restart goes on.
    Restored(Target),
    /// A ban ends later than its jail's ban time says.
    Prolonged(Target, Option<Millis>),
    /// A ban is over.
    Unbanned(Target),
    /// The settings that follow are this jail's.
    Configures(String),
    /// How long the jail bans that was named last.
    BanTime(Option<Millis>),
    /// Anything else that fail2ban says.
    Other,
}

/// Reads one line without its line feed. `None` if it is not one of fail2ban's, or names something that
/// is neither an address nor a network: the caller counts and skips it.
pub(crate) fn parse(line: &[u8]) -> Option<Entry> {
    let text = String::from_utf8_lossy(line);
    // A file system that lost its power leaves a run of NUL bytes before the next line, and an editor a byte order
    // mark before the first.
    let text = text.trim_matches(['\0', '\r']).trim_start_matches('\u{feff}');
    let (stamp, rest) = text.split_at_checked("2026-11-19 03:14:07,123".len())?;
    let (component, rest) = rest.strip_prefix(' ')?.split_once('[')?;
    let component = component.trim_end().strip_prefix("fail2ban.")?;
    let (process, rest) = rest.split_once("]: ")?;
    process.parse::<u32>().ok()?;
    let (_level, message) = rest.split_once(' ')?;
    let event = match component {
        "actions" => action(message.trim_start())?,
        "observer" => observation(message.trim_start())?,
        "jail" => configures(message.trim_start(), "Creating new jail "),
        "server" => configures(message.trim_start(), "Reload jail "),
        _ => Event::Other,
    };
    Some(Entry { at: instant(stamp, 3)?, event })
}

/// The messages of `actions.py`.
fn action(message: &str) -> Option<Event> {
    if let Some(seconds) = message.strip_prefix("banTime: ") {
        let seconds: i64 = seconds.parse().ok()?;
        return Some(Event::BanTime((seconds >= 0).then(|| seconds.saturating_mul(1000))));
    }
    let Some((jail, message)) = jail_and_message(message) else { return Some(Event::Other) };
    let Some((verb, address)) = message.rsplit_once(' ') else { return Some(Event::Other) };
    Some(match verb {
        "Ban" => Event::Banned(target(jail, address)?),
        "Restore Ban" => Event::Restored(target(jail, address)?),
        // Newer versions call it a repeal when the ban ends because fail2ban stops.
        "Unban" | "Repeal Ban" => Event::Unbanned(target(jail, address)?),
        _ => Event::Other,
    })
}

/// The message of `observer.py` that matters: `[jail] Increase Ban ADDRESS (2 # 1:00:00 -> UNTIL)`.
fn observation(message: &str) -> Option<Event> {
    let Some((jail, message)) = jail_and_message(message) else { return Some(Event::Other) };
    let Some(message) = message.strip_prefix("Increase Ban ") else { return Some(Event::Other) };
    let (address, rest) = message.split_once(" (")?;
    let until = match rest.strip_suffix(')')?.rsplit_once(" -> ")?.1 {
        "infinite" => None,
        until => Some(instant(until, 0)?),
    };
    Some(Event::Prolonged(target(jail, address)?, until))
}

fn configures(message: &str, verb: &str) -> Event {
    let jail = message.strip_prefix(verb).and_then(|rest| rest.strip_prefix('\'')?.strip_suffix('\''));
    jail.filter(|jail| is_jail(jail)).map_or(Event::Other, |jail| Event::Configures(jail.to_owned()))
}

fn jail_and_message(message: &str) -> Option<(&str, &str)> {
    message.strip_prefix('[')?.split_once("] ")
}

fn target(jail: &str, address: &str) -> Option<Target> {
    let address = Network::banned(address)?;
    is_jail(jail).then(|| Target { jail: jail.to_owned(), address })
}

fn is_jail(name: &str) -> bool {
    !name.is_empty() && name.len() <= JAIL_LIMIT && name.chars().all(|each| is_visible(each) && each != ']')
}

/// Whether a character stands for itself on a page: it neither turns what follows around nor hides.
pub(crate) fn is_visible(each: char) -> bool {
    each.is_alphanumeric() || each.is_ascii_graphic() || [' ', char::REPLACEMENT_CHARACTER].contains(&each)
}

/// Reads `2026-11-19 03:14:07`, with `,123` behind it if three digits of a fraction are asked for.
fn instant(stamp: &str, fraction: usize) -> Option<Millis> {
    let (seconds, millis) = stamp.split_at_checked("2026-11-19 03:14:07".len())?;
    let millis: i32 = match (fraction, millis.strip_prefix(',')) {
        (0, None) if millis.is_empty() => 0,
        (digits, Some(millis)) if millis.len() == digits && is_digits(millis) => millis.parse().ok()?,
        _ => return None,
    };
    let part = |from: usize, to: usize| seconds.get(from..to).filter(|part| is_digits(part))?.parse().ok();
    let separators: [(usize, char); 5] = [(4, '-'), (7, '-'), (10, ' '), (13, ':'), (16, ':')];
    if !separators.iter().all(|(at, mark)| seconds.get(*at..).is_some_and(|rest| rest.starts_with(*mark))) {
        return None;
    }
    let narrow = |from: usize, to: usize| part(from, to).and_then(|part: i16| i8::try_from(part).ok());
    let (month, day) = (narrow(5, 7)?, narrow(8, 10)?);
    let (hour, minute, second) = (narrow(11, 13)?, narrow(14, 16)?, narrow(17, 19)?);
    let civil = DateTime::new(part(0, 4)?, month, day, hour, minute, second, millis * 1_000_000).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|each| each.is_ascii_digit())
}

#[cfg(test)]
mod tests;
