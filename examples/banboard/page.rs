//! The page: one document with its style inside, without scripts, whose every text is escaped by `maud`.
//! What the log says was chosen by attackers.

mod account;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) use self::account::{LoginProblem, Note, login_page};
use crate::{
    board::{ActiveBan, Board, LISTED},
    chart,
    figures::{Figures, Tally},
    log::Millis,
    login::{Session, Visitor},
    text::{instant, iso, number, span},
    timeline::{StageRow, Startup},
};

const STYLE: &str = include_str!("style.css");

/// For whom the page is made, and what it says beside the board.
pub(crate) struct View<'a> {
    pub(crate) visitor: &'a Visitor,
    pub(crate) note: Option<Note>,
    /// Lifting a ban does not reach fail2ban.
    pub(crate) on_board_only: bool,
    pub(crate) log_name: &'a str,
    /// What the response's Content-Security-Policy allows the style by.
    pub(crate) nonce: &'a str,
}

/// What every page begins with.
fn head(title: &str, nonce: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            link rel="icon" type="image/svg+xml" href="/icon.svg";
            title { (title) " - Banboard" }
            style nonce=(nonce) { (PreEscaped(STYLE)) }
        }
    }
}

/// The whole page.
pub(crate) fn page(board: &Board, startup: &Startup, view: &View<'_>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title(board), view.nonce))
            body {
                a.skip href="#active" { "Skip to the active bans" }
                (header(board, startup, view))
                main {
                    (account::note(view.note))
                    (figures(board))
                    @if let Some(figures) = &board.figures { (over_time(figures)) }
                    div.columns {
                        (active_bans(board, view))
                        div.aside {
                            @if let Some(figures) = &board.figures {
                                (top_networks(&figures.networks))
                                (jails(&figures.jails))
                            }
                        }
                    }
                    (start_up(startup))
                }
                (footer(board))
            }
        }
    }
}

fn header(board: &Board, startup: &Startup, view: &View<'_>) -> Markup {
    html! {
        header {
            h1 { "Banboard" }
            p {
                code { (view.log_name) }
                @match board.log.as_of {
                    Some(as_of) => { " as of " (time(as_of, "%a %-d %b %Y, %H:%M:%S UTC")) }
                    None => " holds nothing yet",
                }
            }
            (status(startup))
            @for trouble in [board.log.unreadable(), board.log.lost()].into_iter().flatten() {
                p.status.bad { span aria-hidden="true" { "! " } "The log: " (trouble) }
            }
            (account::account(view.visitor))
        }
    }
}

/// Said in words and with a sign, not by colour alone.
fn status(startup: &Startup) -> Markup {
    html! {
        @if !startup.ready {
            p.status.bad { span aria-hidden="true" { "✕ " } "Not ready: " (startup.phase) }
        } @else if !startup.degraded.is_empty() {
            p.status.bad { span aria-hidden="true" { "! " } "Degraded: " (startup.degraded.join(", ")) }
        } @else {
            p.status.good { span aria-hidden="true" { "✓ " } "Ready" }
        }
    }
}

fn title(board: &Board) -> String {
    match &board.figures {
        Some(figures) => format!("{} active bans", number(figures.active)),
        None => "Active bans".to_owned(),
    }
}

fn figures(board: &Board) -> Markup {
    html! {
        @match &board.figures {
            Some(Figures { as_of, active, day: (bans, addresses), hours, .. }) => {
                dl.figures {
                    (figure("Active bans", (*active).into()))
                    (figure("Bans, 24 h", (*bans).into()))
                    (figure("Addresses, 24 h", (*addresses).into()))
                    (figure("Bans, 7 d", hours.iter().copied().map(u64::from).sum()))
                }
                @if let Some(as_of) = as_of.filter(|_| *as_of != board.log.as_of) {
                    p.note { "Counting takes long: these figures are as of " (time(as_of, "%H:%M:%S")) "." }
                }
            }
            None => p.note { "The bans are being counted. Load the page again in a moment." },
        }
    }
}

fn figure(name: &str, value: u64) -> Markup {
    html! { div { dt { (name) } dd { (number(value)) } } }
}

fn over_time(figures: &Figures) -> Markup {
    html! {
        section aria-labelledby="over-time" {
            h2 #over-time { "Bans over time" }
            p.note { (chart::summary(figures.first_hour, &figures.hours)) }
            (chart::bans_over_time(figures.first_hour, &figures.hours))
        }
    }
}

fn active_bans(board: &Board, view: &View<'_>) -> Markup {
    let session = match view.visitor {
        Visitor::Admin(session) => Some(session),
        Visitor::ReadOnly | Visitor::Guest | Visitor::Ended => None,
    };
    let as_of = board.log.as_of.unwrap_or_default();
    let shown = board.active.len();
    html! {
        section #active aria-labelledby="active-bans" {
            h2 #active-bans { "Active bans" }
            @if shown == 0 {
                p.note { "Nobody is banned at the moment." }
            } @else {
                table.lifting[session.is_some()] {
                    caption {
                        @if shown == LISTED {
                            "The latest " (shown)
                            @if let Some(figures) = &board.figures { " of " (number(figures.active)) }
                            "; " a href="/api/bans" { "the API" } " lists more."
                        } @else {
                            "Bans that have not ended, the latest first."
                        }
                        @if session.is_some() && view.on_board_only {
                            " Lifting one ends it on this board only: fail2ban is not told."
                        }
                    }
                    thead {
                        tr {
                            th scope="col" { "Address" }
                            th.country scope="col" { "Country" }
                            th scope="col" { "Jail" }
                            th.num.wide scope="col" { "Since" }
                            th.num.wide scope="col" { "For" }
                            th.num scope="col" { "Until" }
                            th.num.wide scope="col" { abbr title="How often the address was banned so far" { "Times" } }
                            @if session.is_some() { th.num scope="col" { "Action" } }
                        }
                    }
                    tbody { @for ban in &board.active { (active_ban(ban, as_of, session)) } }
                }
            }
        }
    }
}

fn active_ban(ban: &ActiveBan, as_of: Millis, session: Option<&Session>) -> Markup {
    html! {
        tr {
            th.address scope="row" { (breakable(&ban.address)) }
            td.country { (country(ban.country.as_deref())) }
            td { (ban.jail) }
            td.num.wide { (time(ban.banned_at, "%-d %b %H:%M")) }
            td.num.wide { (span(as_of - ban.banned_at)) }
            td.num {
                @match ban.expires_at {
                    Some(expires_at) => (time(expires_at, "%-d %b %H:%M")),
                    None => "for ever",
                }
            }
            td.num.wide { (number(ban.times)) }
            @if let Some(session) = session { td.num { (account::lift(session, ban)) } }
        }
    }
}

fn top_networks(networks: &[Tally]) -> Markup {
    let most = networks.iter().map(|network| network.week).max().unwrap_or(0);
    html! {
        section aria-labelledby="top-networks" {
            h2 #top-networks { "Top networks" }
            @if networks.is_empty() {
                p.note { "None in the last 7 days." }
            } @else {
                table {
                    caption { "Bans of the last 7 days by /24 or /48 network." }
                    thead {
                        tr {
                            th scope="col" { "Network" }
                            th scope="col" { "Country" }
                            th.num scope="col" { "Active" }
                            th.num scope="col" { "24 h" }
                            th.num scope="col" { "7 d" }
                            td.bar aria-hidden="true" {}
                        }
                    }
                    tbody {
                        @for network in networks {
                            tr {
                                th.address scope="row" { (breakable(&network.name)) }
                                td { (country(network.country.as_deref())) }
                                (tallies(network))
                                td.bar aria-hidden="true" { (chart::share(network.week, most)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn jails(jails: &[Tally]) -> Markup {
    html! {
        section aria-labelledby="jails" {
            h2 #jails { "Jails" }
            @if jails.is_empty() {
                p.note { "The log names none yet." }
            } @else {
                table {
                    caption { "Bans by jail, the busiest first." }
                    thead {
                        tr {
                            th scope="col" { "Jail" }
                            th.num scope="col" { "Active" }
                            th.num scope="col" { "24 h" }
                            th.num scope="col" { "7 d" }
                        }
                    }
                    tbody { @for jail in jails { tr { th scope="row" { (jail.name) } (tallies(jail)) } } }
                }
            }
        }
    }
}

fn tallies(tally: &Tally) -> Markup {
    html! { @for count in [tally.active, tally.day, tally.week] { td.num { (number(count)) } } }
}

fn start_up(startup: &Startup) -> Markup {
    html! {
        section aria-labelledby="start-up" {
            h2 #start-up { "Start-up" }
            table.stages {
                caption {
                    "This process was ready after " (milliseconds(startup.total_ms))
                    ". A strong bar and the word critical mark the stages that decided this; slack is how much longer "
                    "another one could have taken."
                }
                thead {
                    tr {
                        th scope="col" { "Stage" }
                        th.wide scope="col" { "Waits for" }
                        th scope="col" { "State" }
                        th.num.wide scope="col" { "Began" }
                        th.num scope="col" { "Took" }
                        th.num scope="col" { "Slack" }
                        td.bar aria-hidden="true" {}
                    }
                }
                tbody { @for stage in &startup.stages { (stage_row(stage, startup.total_ms)) } }
            }
            details {
                summary { "The same as a picture" }
                img src="/startup.svg" loading="lazy" alt="The stages of this start as bars. The table says the same.";
            }
        }
    }
}

fn stage_row(stage: &StageRow, total_ms: f64) -> Markup {
    html! {
        tr {
            th scope="row" { (stage.name) }
            td.wide { @if stage.needs.is_empty() { (nothing()) } @else { (stage.needs.join(", ")) } }
            td { @if stage.is_up() { (stage.state) } @else { strong { (stage.state) } } }
            td.num.wide { @if let Some(start) = stage.start_ms { (milliseconds(start)) } @else { (nothing()) } }
            td.num { @if let Some(took) = stage.ms { (milliseconds(took)) } @else { (nothing()) } }
            td.num { @if stage.critical { "critical" } @else { (milliseconds(stage.slack_ms)) } }
            td.bar aria-hidden="true" { (chart::stage_span(stage, total_ms)) }
        }
    }
}

fn footer(board: &Board) -> Markup {
    html! {
        footer {
            p {
                (number(board.log.lines)) " lines read, " (number(board.log.skipped))
                " skipped as not fail2ban's. Times are the log's own, taken as UTC. A ban counts as over when the log "
                "says so or, without such a line, when its time is up."
            }
            nav aria-label="Interfaces" {
                @for path in ["/api/bans", "/startupz", "/readyz", "/livez"] { a href=(path) { (path) } }
            }
        }
    }
}

/// An address that may break behind a colon, because an IPv6 one is wider than a phone.
fn breakable(address: &str) -> Markup {
    html! { @for part in address.split_inclusive(':') { (part) wbr; } }
}

fn country(country: Option<&str>) -> Markup {
    html! { @match country { Some(code) => (code), None => (nothing()) } }
}

/// An empty cell, which is not read out as a dash.
fn nothing() -> Markup {
    html! { span.none { span aria-hidden="true" { "–" } span.unseen { "none" } } }
}

fn time(at: Millis, form: &str) -> Markup {
    html! { time datetime=(iso(at)) { (instant(at, form)) } }
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0} µs", ms * 1000.0),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests;
