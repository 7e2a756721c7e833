//! What the environment says about proxies, authorities and limits.

use std::{
    process::Command,
    sync::{Arc, Mutex},
};

use super::{private_ca::Authority, *};
use crate::codes::HTTP_CONNECT;

/// A proxy that notes the first line and the authorization of each request, and answers itself.
fn proxy(head: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let address = server(move |mut stream| {
        let request = request(&mut stream);
        let lines = request.lines();
        let kept =
            lines.enumerate().filter(|(at, line)| *at == 0 || line.to_lowercase().starts_with("proxy-auth"));
        noted.lock().unwrap().push(kept.map(|(_, line)| line.to_owned()).collect::<Vec<_>>().join(" "));
        let _written = write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    (address, seen)
}

fn session(vars: &[(&str, String)]) -> HttpSession {
    let env = Env::from_vars("SHOP", vars.iter().map(|(name, value)| (*name, value.as_str())));
    let stage = HttpSession::from_env(&env).retry_budget(Duration::ZERO);
    env.check().unwrap();
    assert!(!format!("{stage:?}").contains("hunter2"));
    stage
}

#[tokio::test]
async fn the_environment_names_the_proxy_in_each_of_its_ways() {
    for name in ["SHOP_HTTP_PROXY", "HTTP_PROXY", "http_proxy"] {
        let (address, seen) = proxy("200 OK");
        let stage = session(&[(name, format!("http://user:hunter2@{address}"))]);
        up(&stage.probe("http://upstream.invalid/path")).await.unwrap();
        // The name is the proxy's to resolve. `dXNlcjpodW50ZXIy` is `user:hunter2`.
        let seen = seen.lock().unwrap();
        let request = seen[0].to_lowercase();
        assert!(request.starts_with("get http://upstream.invalid/path http/1.1"), "{name}: {seen:?}");
        assert!(seen[0].contains("Basic dXNlcjpodW50ZXIy"), "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn the_services_own_proxy_comes_before_the_standard_one() {
    let (own, seen) = proxy("200 OK");
    let (standard, unseen) = proxy("200 OK");
    let stage =
        session(&[("SHOP_HTTP_PROXY", format!("http://{own}")), ("HTTP_PROXY", standard.to_string())]);
    up(&stage.probe("http://upstream.invalid/")).await.unwrap();
    assert_eq!((seen.lock().unwrap().len(), unseen.lock().unwrap().len()), (1, 0));
}

#[tokio::test]
async fn hosts_that_need_no_proxy_are_asked_directly() {
    let (address, seen) = proxy("502 Bad Gateway");
    let upstream = answering("200 OK");
    for name in ["NO_PROXY", "no_proxy"] {
        let stage = session(&[("HTTP_PROXY", address.to_string()), (name, "127.0.0.1,.example.com".into())]);
        up(&stage.probe(format!("http://{upstream}/"))).await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
    // Without the exception, the loopback address goes through the proxy like any other.
    let error =
        up(&session(&[("HTTP_PROXY", address.to_string())]).probe(format!("http://{upstream}/"))).await;
    let error = error.unwrap_err();
    let fact = error.facts().iter().find(|fact| fact.name == "proxy").unwrap();
    let shown = format!("http://{address}, from HTTP_PROXY");
    assert_eq!((fact.value.as_str(), seen.lock().unwrap().len()), (shown.as_str(), 1));
}

#[tokio::test]
async fn a_star_is_every_host_and_an_entry_that_is_none_is_named() {
    let (address, seen) = proxy("502 Bad Gateway");
    let upstream = answering("200 OK");
    for list in ["*".to_owned(), format!("{upstream}"), "127.0.0.0/8".to_owned()] {
        let stage = session(&[("HTTP_PROXY", address.to_string()), ("NO_PROXY", list)]);
        up(&stage.probe(format!("http://{upstream}/"))).await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
    let env = Env::from_vars("SHOP", [("NO_PROXY", "a.test,10.0.0.0/33,http://u:hunter2@b")]);
    let _session = HttpSession::from_env(&env);
    let warnings: Vec<String> = env.check().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["`10.0.0.0/33`", "an entry"]
            .map(|each| format!("NO_PROXY: {each} is no host, network or `*`, and stands for nothing"))
    );
}

#[tokio::test]
async fn a_proxy_that_fails_is_accused_itself_and_the_command_goes_through_it() {
    let dead = refused();
    for (scheme, variable) in [("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")] {
        let stage = session(&[(variable, format!("http://user:hunter2@{dead}"))]);
        let error = up(&stage.clone().probe(format!("{scheme}://upstream.invalid/x"))).await.unwrap_err();
        assert_eq!(error.failure_code(), HTTP_CONNECT, "{error}");
        assert!(error.to_string().starts_with(&format!("http://{dead} for {scheme}://upstream.invalid:")));
        assert!(error.to_string().contains(": no connection to the proxy"), "{error}");
        let actions = error.actions().join("\n");
        assert!(actions.contains(&format!("in {variable} right")), "{actions}");
        assert!(actions.contains(&format!("curl --proxy http://{dead} -v {scheme}://upstream")), "{actions}");
        assert!(actions.contains("NO_PROXY=upstream.invalid") && !actions.contains("hunter2"), "{actions}");
        // It is carried out as it stands: it goes to the proxy, and hears what the program heard.
        let command = error.actions()[0].split_once("? ").unwrap().1;
        let said = Command::new("sh").args(["-c", command]).output().unwrap();
        let heard = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(7) && heard.contains(&dead.port().to_string()), "{heard}");
        // What the application asks for goes the same way.
        let client = up(&stage).await.unwrap();
        let url = format!("{scheme}://upstream.invalid/");
        let failed = client.request(async |client| Ok(client.get(url).send().await?)).await.unwrap_err();
        assert!(failed.to_string().contains("no connection to the proxy"), "{failed}");
    }
    let unknown = session(&[("HTTP_PROXY", "http://proxy.invalid:3128".to_owned())]);
    let error = up(&unknown.probe("http://127.0.0.1/")).await.unwrap_err();
    assert!(error.to_string().contains("the proxy's name cannot be resolved"), "{error}");
    assert!(error.actions()[0].contains("getent hosts proxy.invalid"), "{:?}", error.actions());
}

#[tokio::test]
async fn a_host_that_is_asked_directly_is_accused_itself_and_asked_directly() {
    let (dead, upstream) = (refused(), refused());
    let stage = session(&[("HTTP_PROXY", dead.to_string()), ("NO_PROXY", "127.0.0.1".to_owned())]);
    let error = up(&stage.probe(format!("http://{upstream}/"))).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("http://{upstream}: no connection")), "{error}");
    assert!(error.actions()[0].contains("curl --noproxy '*' -v http://"), "{:?}", error.actions());
    assert!(error.facts().iter().all(|fact| fact.name != "proxy"));
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_a_proxy_that_refuses_it_is_no_connection() {
    let (address, seen) = proxy("403 Forbidden");
    let stage = session(&[("https_proxy", format!("http://user:hunter2@{address}"))]);
    let error = up(&stage.probe("https://upstream.invalid/?token=hunter2")).await.unwrap_err();
    assert_eq!(error.failure_code(), HTTP_CONNECT, "{error}");
    assert!(!format!("{error} {error:?} {:?}", error.facts()).contains("hunter2"), "{error:?}");
    assert!(error.to_string().contains(": the proxy opens no way to it"), "{error}");
    assert!(seen.lock().unwrap()[0].starts_with("CONNECT upstream.invalid:443 HTTP/1.1"));
}

#[tokio::test]
async fn nothing_but_what_was_given_is_asked_for_a_proxy() {
    let upstream = answering("200 OK");
    up(&HttpSession::new().probe(format!("http://{upstream}/"))).await.unwrap();
    let (address, seen) = proxy("200 OK");
    let url: HttpUrl = format!("http://{address}").parse().unwrap();
    up(&HttpSession::new().proxy(url).probe("http://upstream.invalid/")).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn a_proxy_that_cannot_be_used_is_a_problem_and_not_passed_over() {
    for (name, value) in [
        ("HTTPS_PROXY", "socks5://user:hunter2@proxy:1080"),
        ("HTTP_PROXY", "user:hunter2@"),
        ("SHOP_HTTP_PROXY", "hunter2"),
    ] {
        let env = Env::from_vars("SHOP", [(name, value)]);
        let _session = HttpSession::from_env(&env);
        let problems = env.check().unwrap_err().to_string();
        assert!(problems.contains(name) && !problems.contains("hunter2"), "{problems}");
    }
    for value in ["proxy:3128", "http://proxy", "https://proxy:443/"] {
        let env = Env::from_vars("SHOP", [("HTTPS_PROXY", value)]);
        let _session = HttpSession::from_env(&env);
        assert!(env.check().unwrap().is_empty(), "{value}");
    }
}

#[tokio::test]
async fn the_environment_names_the_authority_and_whether_the_upstream_is_needed() {
    let authority = Authority::new();
    let file = authority.file();
    let url = format!("https://{}/", authority.server("127.0.0.1"));
    let trusting = session(&[
        ("SHOP_HTTP_CA_FILE", file.path().to_str().unwrap().to_owned()),
        ("SHOP_HTTP_PROBE_URL", url.clone()),
        ("SHOP_HTTP_CONNECT_TIMEOUT", "2s".to_owned()),
    ]);
    assert_eq!(trusting.connect_timeout, Duration::from_secs(2));
    up(&trusting).await.unwrap();
    let error = up(&session(&[("SHOP_HTTP_PROBE_URL", url.clone())])).await.unwrap_err();
    assert!(error.actions()[0].contains("SHOP_HTTP_CA_FILE="), "{:?}", error.actions());
    up(&session(&[("SHOP_HTTP_PROBE_URL", url), ("SHOP_HTTP_REQUIRED", "false".to_owned())])).await.unwrap();
}
