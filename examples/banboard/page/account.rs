//! What the page shows of logging in and of what can be done then.

use maud::{DOCTYPE, Markup, html};

use super::head;
use crate::{
    board::ActiveBan,
    login::{Session, Visitor},
};

/// What the page says about what was just done. The address says which of these, and no words of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    Lifted,
    Over,
    Kept,
    Bye,
    Ended,
}

impl Note {
    pub(crate) fn of(query: &str) -> Option<Self> {
        match query {
            "lifted" => Some(Self::Lifted),
            "over" => Some(Self::Over),
            "kept" => Some(Self::Kept),
            "bye" => Some(Self::Bye),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Lifted => "The ban was lifted.",
            Self::Over => "That ban was over already.",
            Self::Kept => {
                "The ban was not lifted: fail2ban or the database did not answer. The log of banboard says more."
            }
            Self::Bye => "You are logged out.",
            Self::Ended => "Your session is over. Log in again to lift bans.",
        }
    }
}

pub(super) fn note(note: Option<Note>) -> Markup {
    html! { @if let Some(note) = note { p.said #note role="status" { (note.text()) } } }
}

/// Who is here, and the way in or out.
pub(super) fn account(visitor: &Visitor) -> Markup {
    html! {
        @match visitor {
            Visitor::ReadOnly => {},
            Visitor::Guest | Visitor::Ended => { nav.account aria-label="Account" { a.button href="/login" { "Log in" } } },
            Visitor::Admin(session) => {
                form.account method="post" action="/logout" {
                    (token(session))
                    button { "Log out" }
                }
            }
        }
    }
}

/// The button of one row. Its words alone would be the same in each row, so the row is named, too.
pub(super) fn lift(session: &Session, ban: &ActiveBan) -> Markup {
    html! {
        form method="post" action="/lift" {
            (token(session))
            input type="hidden" name="ban" value=(ban.id);
            button aria-label={ "Lift the ban of " (ban.address) " in " (ban.jail) } { "Lift" }
        }
    }
}

fn token(session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.form_token()); }
}

/// Why the form to log in is shown again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoginProblem {
    WrongPassword,
    TooOften { seconds: u64 },
    Ended,
}

/// The page to log in.
pub(crate) fn login_page(problem: Option<LoginProblem>, nonce: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head("Log in", nonce))
            body {
                header { h1 { "Banboard" } }
                main {
                    section.login aria-labelledby="log-in" {
                        h2 #log-in { "Log in" }
                        @if let Some(problem) = problem { p.problem #problem role="alert" { (said(problem)) } }
                        form method="post" action="/login" {
                            label for="password" { "Password" }
                            input #password type="password" name="password" autocomplete="current-password" required autofocus
                                aria-describedby=[problem.map(|_| "problem")];
                            button { "Log in" }
                        }
                    }
                    p { a href="/" { "Back to the board" } }
                }
            }
        }
    }
}

fn said(problem: LoginProblem) -> Markup {
    html! {
        @match problem {
            LoginProblem::WrongPassword => "That is not the password.",
            LoginProblem::TooOften { seconds } => { "Too many attempts. Try again in " (seconds) " s." },
            LoginProblem::Ended => "Your session is over. Log in again.",
        }
    }
}
