use super::*;

const HOSTILE: &str = r#"</td><script>alert("1")</script>&'"#;

fn startup() -> Startup {
    let row = |name: &str, critical| StageRow {
        name: name.to_owned(),
        needs: vec!["worker-mode".to_owned()],
        state: "up",
        start_ms: Some(1.0),
        ms: Some(12.5),
        slack_ms: 3.0,
        critical,
    };
    Startup {
        phase: "ready",
        ready: true,
        degraded: Vec::new(),
        total_ms: 20.0,
        stages: vec![row("database", true), row("cache", false)],
    }
}

fn ban(address: &str, jail: &str) -> ActiveBan {
    ActiveBan {
        id: 7,
        address: address.to_owned(),
        jail: jail.to_owned(),
        network: "203.0.113.0/24".to_owned(),
        country: Some("NL".to_owned()),
        banned_at: 0,
        expires_at: None,
        times: 3,
    }
}

fn view(log_name: &str) -> View<'_> {
    View { visitor: &Visitor::ReadOnly, note: None, on_board_only: true, log_name, nonce: "n0nce" }
}

fn render(board: &Board) -> String {
    page(board, &startup(), &view("/var/log/fail2ban.log")).into_string()
}

#[test]
fn what_the_log_chose_is_never_markup() {
    let tally =
        || Tally { name: HOSTILE.to_owned(), country: Some(HOSTILE.to_owned()), active: 1, day: 1, week: 1 };
    let board = Board {
        active: vec![ban(HOSTILE, HOSTILE)],
        figures: Some(Figures { jails: vec![tally()], networks: vec![tally()], ..Figures::default() }),
        ..Board::default()
    };
    let html = page(&board, &startup(), &view(HOSTILE)).into_string();
    assert!(!html.contains("<script"), "{html}");
    assert!(html.matches("&lt;script&gt;alert(&quot;1&quot;)").count() >= 6);
}

#[test]
fn an_empty_board_is_a_whole_page() {
    let html = render(&Board { figures: Some(Figures::default()), ..Board::default() });
    for said in ["Nobody is banned", "None in the last 7 days", "names none yet", "holds nothing yet"] {
        assert!(html.contains(said), "{said}");
    }
    assert!(html.ends_with("</html>"));
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_has_no_inline_style_or_script() {
    let html = render(&Board { active: vec![ban("203.0.113.9", "sshd")], ..Board::default() });
    for forbidden in ["<script", " style=", " onclick", "http://", "https://", "url("] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert_eq!(html.matches("<style nonce=\"n0nce\">").count(), 1);
}

#[test]
fn tables_say_what_they_are_and_which_cells_head_what() {
    let html = render(&Board { active: vec![ban("203.0.113.9", "sshd")], ..Board::default() });
    assert_eq!(html.matches("<table").count(), html.matches("<caption").count());
    assert_eq!(html.matches("<th ").count(), html.matches("scope=").count());
    assert!(!html.contains("<th>"));
    assert!(html.contains(r#"<html lang="en">"#) && html.contains("width=device-width"));
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let active = (0..LISTED).map(|each| ban(&format!("2001:db8::{each}"), "sshd")).collect();
    let figures = Some(Figures { active: 1234, ..Figures::default() });
    let html = render(&Board { active, figures, ..Board::default() });
    assert!(html.contains("The latest 100 of 1,234; "));
    assert_eq!(html.matches("th class=\"address\"").count(), LISTED);
}

#[test]
fn figures_that_are_not_those_of_the_moment_say_so() {
    assert!(render(&Board::default()).contains("are being counted"));
    let mut board = Board { figures: Some(Figures::default()), ..Board::default() };
    board.log.as_of = Some(7_000);
    board.figures = Some(Figures { as_of: Some(7_000), ..Figures::default() });
    assert!(!render(&board).contains("Counting takes long"));
    board.log.as_of = Some(9_000);
    assert!(render(&board).contains("as of <time datetime=\"1970-01-01T00:00:07"));
}

#[test]
fn the_state_is_said_in_words() {
    assert!(status(&startup()).into_string().contains("Ready"));
    let degraded = Startup { degraded: vec!["cache".to_owned()], ..startup() };
    assert!(status(&degraded).into_string().contains("Degraded: cache"));
    let draining = Startup { ready: false, phase: "draining", ..startup() };
    assert!(status(&draining).into_string().contains("Not ready: draining"));
}

#[test]
fn nobody_but_who_may_lift_a_ban_is_offered_to() {
    let board = Board { active: vec![ban("203.0.113.9", "sshd")], ..Board::default() };
    let html = render(&board);
    assert!(!html.contains("<form") && !html.contains("/login"));
    let guest = page(&board, &startup(), &View { visitor: &Visitor::Guest, ..view("log") }).into_string();
    assert!(!guest.contains("<form") && guest.contains("/login"));
}

#[test]
fn a_note_is_one_of_ours_whatever_the_address_says() {
    assert_eq!(Note::of("<script>"), None);
    assert_eq!(Note::of("lifted"), Some(Note::Lifted));
    let html = page(&Board::default(), &startup(), &View { note: Some(Note::Lifted), ..view("log") });
    assert!(html.into_string().contains("role=\"status\""));
}
