//! Logging in, lifting a ban and logging out, as requests.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const PASSWORD: (&str, &str) = ("BANBOARD_ADMIN_PASSWORD", "correct horse");

/// What a browser would keep.
struct Browser<'a> {
    service: &'a Service,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn new(service: &'a Service) -> Self {
        Self { service, cookie: String::new() }
    }

    async fn get(&mut self, path: &str) -> (String, String) {
        let answer = self.service.send(&format!("GET {path} HTTP/1.1\r\n{}", self.cookie), "").await;
        self.keep(answer)
    }

    async fn post(&mut self, path: &str, more: &str, form: &str) -> (String, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{more}{}",
            form.len(),
            self.cookie
        );
        let answer = self.service.send(&head, form).await;
        self.keep(answer)
    }

    fn keep(&mut self, answer: (String, String)) -> (String, String) {
        if let Some((_, rest)) = answer.0.split_once("set-cookie: ") {
            self.cookie = format!("Cookie: {}\r\n", rest.split([';', '\r']).next().unwrap());
        }
        answer
    }

    /// The token of the page's forms, and the row of its first ban.
    async fn form(&mut self) -> (String, String) {
        let page = self.get("/").await.1;
        let value = |name: &str| {
            let (_, rest) = page
                .split_once(&format!("name=\"{name}\" value=\""))
                .unwrap_or_else(|| panic!("{name}: {page}"));
            rest.split('"').next().unwrap().to_owned()
        };
        (value("token"), value("ban"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_password_can_lift_a_ban_until_they_log_out() {
    let host = Host::new();
    let service = host.start_with(&[PASSWORD]).await;
    let mut browser = Browser::new(&service);
    let (head, _) = browser.post("/login", "", "password=correct+horse").await;
    assert!(head.starts_with("http/1.1 303") && head.contains("location: /\r\n"), "{head}");
    let before = service.banned().await;
    let (token, ban) = browser.form().await;
    let lift = format!("token={token}&ban={ban}");
    let (head, _) = browser.post("/lift", "Sec-Fetch-Site: same-origin\r\n", &lift).await;
    assert!(head.contains("location: /?lifted#note"), "{head}");
    assert_eq!(service.banned().await, before[1..]);
    assert!(browser.get("/?lifted").await.1.contains("The ban was lifted."));
    assert!(browser.post("/lift", "", &lift).await.0.contains("location: /?over#note"), "not twice");

    let cookie = browser.cookie.clone();
    assert!(browser.post("/logout", "", &format!("token={token}")).await.0.contains("max-age=0"));
    // Somebody who kept the cookie.
    browser.cookie = cookie;
    assert!(browser.post("/lift", "", &lift).await.0.contains("location: /login?ended"));
    assert!(browser.get("/").await.1.contains("Your session is over"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_another_site_made_changes_nothing() {
    let host = Host::new();
    let service = host.start_with(&[PASSWORD]).await;
    let mut browser = Browser::new(&service);
    let foreign = "Sec-Fetch-Site: cross-site\r\n";
    assert!(browser.post("/login", foreign, "password=correct+horse").await.0.starts_with("http/1.1 403"));
    browser.post("/login", "", "password=correct+horse").await;
    let (token, ban) = browser.form().await;
    let before = service.banned().await;
    for (more, form) in [
        ("", format!("token=&ban={ban}")),
        ("", format!("token={}&ban={ban}", "0".repeat(token.len()))),
        (foreign, format!("token={token}&ban={ban}")),
    ] {
        let (head, _) = browser.post("/lift", more, &form).await;
        assert!(head.starts_with("http/1.1 403"), "{form}: {head}");
    }
    assert!(browser.post("/logout", "", "token=x").await.0.starts_with("http/1.1 403"));
    assert_eq!(service.banned().await, before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_ends_after_five_passwords_and_says_when_to_come_back() {
    let host = Host::new();
    let service = host.start_with(&[PASSWORD]).await;
    let mut browser = Browser::new(&service);
    for guess in 0..5 {
        let (head, page) = browser.post("/login", "", &format!("password={guess}")).await;
        assert!(head.starts_with("http/1.1 403") && page.contains("not the password"), "{head}");
    }
    let (head, _) = browser.post("/login", "", "password=correct+horse").await;
    assert!(head.starts_with("http/1.1 429") && head.contains("retry-after: "), "{head}");
    let (head, _) = browser.post("/login", "", &format!("password={}", "x".repeat(10_000))).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_password_the_board_is_read_only() {
    let host = Host::new();
    let service = host.start("127.0.0.1:0").await.unwrap();
    let mut browser = Browser::new(&service);
    assert!(!browser.get("/").await.1.contains("<form"));
    for path in ["/login", "/logout", "/lift"] {
        assert!(
            browser.post(path, "", "password=&token=&ban=1").await.0.starts_with("http/1.1 404"),
            "{path}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_can_be_driven_from_outside_by_who_knows_the_secret() {
    let host = Host::new();
    let secret = ("BANBOARD_TICK_SECRET", "a-secret-for-ticks-of-32-letters");
    let service = host.start_with(&[("BANBOARD_SCHEDULER", "external"), secret]).await;
    let mut browser = Browser::new(&service);
    let bearer = format!("Authorization: Bearer {}\r\n", secret.1);
    assert!(browser.post("/tick/expire-bans", "", "").await.0.starts_with("http/1.1 401"));
    assert!(browser.post("/tick/expire-bans", &bearer, "").await.0.starts_with("http/1.1 202"));
    assert!(browser.post("/tick/nothing", &bearer, "").await.0.starts_with("http/1.1 404"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_does_not_wait_for_an_upstream_that_hangs_nor_does_the_stop() {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hangs.local_addr().unwrap());
    let host = Host::new();
    host.append("2026-11-19 23:59:59,123 fail2ban.actions        [812]: NOTICE  [sshd] Ban 9.9.9.9\n");
    let service = host.start_with(&[("BANBOARD_UPSTREAM_URL", &url), ("BANBOARD_HTTP_TIMEOUT", "60s")]).await;
    // The request is under way from here on, and is never answered.
    let asks = tokio::net::TcpListener::from_std({
        hangs.set_nonblocking(true).unwrap();
        hangs
    });
    let _unanswered = tokio::time::timeout(Duration::from_secs(20), asks.unwrap().accept()).await.unwrap();
    let page = tokio::time::timeout(Duration::from_secs(20), service.get("/")).await.unwrap().1;
    assert!(page.contains("9.9.9.9"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_fail2ban_that_hangs_is_ended_by_the_stop_and_does_not_hold_it_up() {
    let host = Host::new();
    let (client, pid) = (host.dir.path().join("client"), host.dir.path().join("pid"));
    let script = format!(
        "#!/bin/sh\ntrap '' TERM INT\necho $$ > {0}.new\nmv {0}.new {0}\nexec sleep 1000\n",
        pid.display()
    );
    fs::write(&client, script).unwrap();
    fs::set_permissions(&client, fs::Permissions::from_mode(0o700)).unwrap();
    let client = ("BANBOARD_FAIL2BAN_CLIENT", client.to_str().unwrap());
    let service = host.start_with(&[PASSWORD, client, ("BANBOARD_SHUTDOWN_TIMEOUT", "5s")]).await;
    let mut browser = Browser::new(&service);
    browser.post("/login", "", "password=correct+horse").await;
    let (token, ban) = browser.form().await;
    let form = format!("token={token}&ban={ban}");
    let head = format!(
        "POST /lift HTTP/1.1\r\nHost: banboard\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n{}\r\n{form}",
        form.len(),
        browser.cookie
    );
    let address = service.running.get(service.listener).unwrap().local_addr().unwrap();
    let mut lifting = TcpStream::connect(address).await.unwrap();
    lifting.write_all(head.as_bytes()).await.unwrap();
    let runs = async {
        while !pid.exists() {
            tokio::task::yield_now().await;
        }
        fs::read_to_string(&pid).unwrap().trim().to_owned()
    };
    let runs = tokio::time::timeout(Duration::from_secs(20), runs).await.unwrap();
    let running = PathBuf::from("/proc").join(runs);
    assert!(running.exists());
    service.stop().await;
    assert!(!running.exists() || fs::read_to_string(running.join("stat")).unwrap().contains(") Z "));
}
