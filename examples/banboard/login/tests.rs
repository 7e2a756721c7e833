use std::net::Ipv4Addr;

use axum::http::HeaderValue;

use super::*;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn login(secure_cookie: bool) -> Login {
    let password = Some(Secret::from("correct horse".to_owned()));
    Login::new(password, Arc::new(Sessions::detached(10)), secure_cookie).await.unwrap()
}

fn sends(cookie: &str) -> HeaderMap {
    let pair = cookie.split(';').next().unwrap();
    let cookies = format!("theme=dark; {pair}; banboard=x");
    HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&cookies).unwrap())])
}

#[tokio::test]
async fn a_session_lasts_from_the_right_password_until_it_is_left() {
    let login = login(false).await;
    let cookie = login.enter(HOME, "correct horse".to_owned()).await.unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let headers = sends(&cookie);
    let Visitor::Admin(session) = login.visitor(&headers).await else { panic!("not let in") };
    assert!(session.has_made(session.form_token()) && !session.has_made("") && !session.has_made("x"));
    assert!(login.leave(&headers).await.contains("Max-Age=0"));
    assert!(matches!(login.visitor(&headers).await, Visitor::Ended));
    assert!(matches!(login.visitor(&HeaderMap::new()).await, Visitor::Guest));
}

#[tokio::test]
async fn two_sessions_share_neither_token_nor_forms() {
    let login = login(true).await;
    let mut forms = Vec::new();
    for _session in 0..2 {
        let cookie = login.enter(HOME, "correct horse".to_owned()).await.unwrap();
        assert!(cookie.contains("; Secure"));
        let Visitor::Admin(session) = login.visitor(&sends(&cookie)).await else { panic!("not let in") };
        forms.push(session);
    }
    assert!(!forms[0].has_made(forms[1].form_token()));
}

#[tokio::test]
async fn the_token_itself_is_not_kept_and_nothing_is_printed() {
    let login = login(false).await;
    let cookie = login.enter(HOME, "correct horse".to_owned()).await.unwrap();
    let token = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
    assert_eq!(token.len(), 64);
    let Visitor::Admin(session) = login.visitor(&sends(&cookie)).await else { panic!("not let in") };
    let printed = format!("{login:?} {session:?}");
    for secret in [&token, session.form_token(), "correct horse"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[tokio::test]
async fn wrong_passwords_are_refused_and_then_all_are_for_a_while() {
    let login = login(false).await;
    for wrong in ["", "correct hors", "correct horse ", "Correct horse", "\0"] {
        assert_eq!(login.enter(HOME, wrong.to_owned()).await, Err(Refused::WrongPassword), "{wrong:?}");
    }
    let refused = login.enter(HOME, "correct horse".to_owned()).await;
    assert!(matches!(refused, Err(Refused::TooOften(_))), "{refused:?}");
}

#[tokio::test]
async fn without_a_password_nobody_gets_in() {
    let login = Login::new(None, Arc::new(Sessions::detached(10)), false).await.unwrap();
    assert_eq!(login.enter(HOME, String::new()).await, Err(Refused::WrongPassword));
    assert!(matches!(login.visitor(&sends("banboard_session=x")).await, Visitor::ReadOnly));
}
