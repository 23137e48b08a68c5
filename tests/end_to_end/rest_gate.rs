//! The REST API against those who mean it harm: they are refused, what they can make it keep is bounded, and data goes on.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Node, Site, memory_peak_mb, wait_until};
use crate::rest_client::{Answer, Api, next_answer, with_api};

/// A node that takes data all the time.
fn site(rest: &str) -> (Site, Api) {
    with_api(Site::new().csv().rows(1_000_000_000, 500), rest)
}

fn ready<'s>(site: &'s Site) -> Node<'s> {
    let mut node = site.start();
    node.wait("rows come", |picture| picture.edge("rows", "csv").arrived > 10);
    node
}

/// Rows still come, in time, and the supervisor is as small as before.
fn assert_untouched(node: &mut Node<'_>, api: &Api) {
    let before = node.status().edge("rows", "csv").arrived;
    node.wait("rows go on", |picture| picture.edge("rows", "csv").arrived > before + 100);
    assert_eq!(api.get("/healthz").status, 200);
    let peak = memory_peak_mb(node.pid());
    assert!(peak < 150, "the supervisor has had {peak} MB");
}

#[test]
fn two_thousand_idle_connections_lock_nobody_out() {
    let (site, api) = site("");
    let mut node = ready(&site);

    let mut idle = Vec::new();
    for number in 0..2000 {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", api.port)) else { continue };
        if number % 2 == 0 {
            stream.write_all(b"GET /healthz HT").ok();
        }
        idle.push(stream);
        if number % 200 == 0 {
            let begun = Instant::now();
            assert_eq!(api.get("/api/v1/nodes/self/status").status, 200, "after {number}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }

    assert!(idle.len() > 1500, "{}", idle.len());
    assert_eq!(api.get("/api/v1/nodes/self/status").status, 200);
    let open = api
        .get("/metrics")
        .body
        .lines()
        .find_map(|line| line.strip_prefix("enrgdaq_rest_open_connections ")?.parse().ok());
    assert!(open.is_some_and(|open: u32| open <= 256), "{open:?}");
    assert_untouched(&mut node, &api);
}

#[test]
fn heads_and_bodies_that_come_by_drops_are_given_up() {
    let (site, api) = site("");
    let mut node = ready(&site);
    let mut head = api.connect();
    let mut body = api.connect();
    body.write_all(b"POST /api/v1/nodes/self/command HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{").unwrap();
    head.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n").unwrap();

    let begun = Instant::now();
    let mut is_open = true;
    while is_open && begun.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(200));
        body.write_all(b" ").ok();
        head.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        is_open = head.write_all(b"a: b\r\n").is_ok() && !matches!(head.read(&mut [0; 1]), Ok(0));
    }

    assert!(!is_open, "a head may take 10 s");
    let slow = next_answer(&mut BufReader::new(body)).unwrap();
    assert_eq!((slow.status, slow.code().as_str()), (408, "Slow"));
    assert_untouched(&mut node, &api);
}

#[test]
fn a_body_that_is_too_large_is_refused_unread() {
    let (site, api) = site("max_body_kb = 16");
    let mut node = ready(&site);
    let head = "POST /api/v1/nodes/self/command HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

    let mut announced = api.connect();
    announced.write_all(format!("{head}Content-Length: 104857600\r\n\r\n").as_bytes()).unwrap();
    let announced = next_answer(&mut BufReader::new(announced)).unwrap();
    let mut chunked = api.connect();
    chunked.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(chunked.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        (0..1600).take_while(|_| chunked.write_all(chunk.as_bytes()).is_ok()).count()
    });
    let in_chunks = next_answer(&mut reader).unwrap();

    for answer in [&announced, &in_chunks] {
        assert_eq!((answer.status, answer.code().as_str()), (413, "TooLarge"));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    drop(reader);
    assert!(writer.join().unwrap() < 1600, "not all 100 MB are taken");
    assert_eq!(api.post("/api/v1/nodes/self/command", &" ".repeat(16 * 1024)).code(), "BadInput");
    assert_untouched(&mut node, &api);
}

#[test]
fn bodies_that_are_no_calls_are_answered_and_harm_nobody() {
    let (site, api) = site("max_body_kb = 8192");
    let mut node = ready(&site);
    let deep = ["[", "{\"a\":"].map(|open| open.repeat(1_000_000));
    let bodies = ["{", "[]", "null", "3", "\"do\"", "{\"do\":3}", "{\"do\":\"status\"} x", "\u{0}", "{\"do\":null}"];

    for body in bodies.into_iter().chain(deep.iter().map(String::as_str)) {
        for path in ["/api/v1/nodes/self/command", "/api/v1/nodes/self/jobs", "/api/v1/nodes/self/jobs/csv/forward"] {
            let answer = api.post(path, body);
            assert_eq!(answer.status, 422, "{path} {:.40}: {answer:?}", body);
            answer.code();
        }
    }
    let nested = format!("{{\"do\":\"x\",\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert_eq!(api.post("/api/v1/nodes/self/jobs/csv/forward", &nested).status, 409, "what is deep, but not too deep");
    let no_utf8 = api.send("POST", "/api/v1/nodes/self/command", &[], "{\"do\":\"\u{fffd}\"}");
    assert_eq!(no_utf8.status, 422);
    assert_untouched(&mut node, &api);
}

#[test]
fn pages_of_strangers_reach_nothing() {
    let (site, api) = site("allowed_origins = [\"https://control.example\"]\nallowed_hosts = [\"daq.example\"]");
    let mut node = ready(&site);
    let pid = node.status().running("csv");
    let stop = "/api/v1/nodes/self/jobs/csv/stop";
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = api.send(method, path, headers, body);
        (answer.status, answer.code())
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());

    // A page whose name has been given our address.
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example"] {
        assert_eq!(ask("GET", "/api/v1/me", &[("Host", host)], ""), refused(421, "UnknownHost"), "{host}");
        assert_eq!(ask("POST", stop, &[("Host", host)], ""), refused(421, "UnknownHost"), "{host}");
    }
    assert_eq!(api.send("GET", "http://evil.example/api/v1/me", &[], "").status, 421);
    for host in ["localhost", "[::1]:8000", "DAQ.example:1", "192.168.3.4"] {
        assert_eq!(api.send("GET", "/api/v1/me", &[("Host", host)], "").status, 200, "{host}");
    }
    // A page that asks across origins, with what needs no preflight.
    let evil = ("Origin", "http://evil.example");
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json"]
    {
        let headers = [evil, ("Content-Type", kind)];
        assert_eq!(ask("POST", stop, &headers, "{}"), refused(403, "ForbiddenOrigin"), "{kind}");
        if kind != "application/json" {
            assert_eq!(ask("POST", stop, &headers[1..], "{}"), refused(415, "NotJson"), "{kind}");
        }
    }
    for headers in [[evil], [("Origin", "null")], [("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")]]
    {
        assert_eq!(ask("POST", stop, &headers, ""), refused(403, "ForbiddenOrigin"), "{headers:?}");
        assert_eq!(ask("GET", "/api/v1/me", &headers, ""), refused(403, "ForbiddenOrigin"), "{headers:?}");
        assert_eq!(ask("OPTIONS", stop, &headers, "").0, 403, "{headers:?}");
    }
    assert_eq!(node.status().running("csv"), pid, "nothing of it was done");
    // Our own page, and one that is configured.
    let own = format!("http://127.0.0.1:{}", api.port);
    assert_eq!(api.send("GET", "/api/v1/me", &[("Origin", &own)], "").header("access-control-allow-origin"), None);
    let page = [("Origin", "https://control.example"), ("Sec-Fetch-Site", "cross-site")];
    let asked = [page[0], ("Access-Control-Request-Method", "POST")];
    let preflight = api.send("OPTIONS", stop, &asked, "");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some(page[0].1)));
    assert!(preflight.header("access-control-allow-headers").is_some_and(|names| names.contains("authorization")));
    let answer = api.send("GET", "/api/v1/me", &page, "");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(page[0].1)));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_untouched(&mut node, &api);
}

#[test]
fn every_answer_forbids_browsers_to_keep_frame_or_guess_it() {
    let (site, api) = site("");
    let _node = ready(&site);

    for path in ["/healthz", "/nowhere", "/metrics", "/docs", "/clients"] {
        let answer = api.get(path);
        let has = |name: &str, part: &str| answer.header(name).is_some_and(|value| value.contains(part));
        assert!(has("x-content-type-options", "nosniff") && has("cache-control", "no-store"), "{answer:?}");
        assert!(
            has("content-security-policy", "frame-ancestors 'none'") && has("x-frame-options", "DENY"),
            "{answer:?}"
        );
        assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 32), "{answer:?}");
    }
}

#[test]
fn heads_that_are_too_large_or_no_http_are_refused() {
    let (site, api) = site("");
    let mut node = ready(&site);
    let raw = |text: &str| {
        let mut stream = api.connect();
        stream.write_all(text.as_bytes()).ok();
        next_answer(&mut BufReader::new(stream)).map(|answer| answer.status)
    };
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";

    assert_eq!(raw(&format!("{get}\r\n")), Some(200));
    assert_eq!(raw(&format!("{get}X: {}\r\n\r\n", "x".repeat(64 << 10))), Some(431));
    assert_eq!(raw(&format!("{get}{}\r\n", "X: y\r\n".repeat(100))), Some(431));
    assert_eq!(raw(&format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000))), Some(431));
    assert_eq!(raw("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"), Some(400), "no host");
    assert_eq!(raw(&format!("{get}Host: localhost\r\n\r\n")), Some(400), "two hosts");
    for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET /healthz HTTP/1.1\nHost\n\n", "{\"do\":\"status\"}\r\n\r\n"]
    {
        assert!(matches!(raw(garbage), Some(400) | None), "{garbage:?}");
    }
    let both = "POST /clients/self/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\
                Content-Type: application/json\r\nConnection: close\r\n\r\n0\r\n\r\n";
    assert!(matches!(raw(both), Some(200 | 400) | None));
    assert_untouched(&mut node, &api);
}

#[test]
fn requests_that_follow_each_other_on_a_connection_are_answered_in_order() {
    let (site, api) = site("");
    let _node = ready(&site);
    let request =
        |path: &str, id: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n\r\n");
    let mut stream = api.connect();
    let texts = ["/healthz", "/nowhere", "/api/v1/me"].iter().enumerate();
    let all: String = texts.map(|(at, path)| request(path, &format!("n{at}"))).collect();

    stream.write_all(all.as_bytes()).unwrap();

    let mut reader = BufReader::new(stream);
    let answers: Vec<Answer> = (0..3).map(|_| next_answer(&mut reader).unwrap()).collect();
    let seen: Vec<_> = answers.iter().map(|answer| (answer.status, answer.header("x-request-id").unwrap())).collect();
    assert_eq!(seen, [(200, "n0"), (404, "n1"), (200, "n2")]);
}

#[test]
fn old_http_is_spoken_too() {
    let (site, api) = site("");
    let _node = ready(&site);
    let mut stream = api.connect();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();

    assert!(text.starts_with("HTTP/1.0 200 OK") && text.ends_with("{\"status\":\"ok\"}\n"), "{text}");
}

#[test]
fn names_in_paths_are_names_and_lead_nowhere() {
    let (site, api) = site("");
    let mut node = ready(&site);

    for name in [
        "..",
        "%2e%2e",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "csv%00",
        "%ff%fe",
        "a%0d%0aSet-Cookie:x",
        "*",
    ] {
        for path in [
            "/api/v1/nodes/NAME",
            "/api/v1/nodes/NAME/status",
            "/clients/NAME/logs",
            "/api/v1/nodes/self/jobs/NAME",
            "/api/v1/nodes/self/jobs/NAME/config",
            "/api/v1/nodes/self/jobs/NAME/logs",
            "/docs/NAME",
        ] {
            let answer = api.get(&path.replace("NAME", name));
            assert!(matches!(answer.status, 400 | 404), "{path} {name}: {answer:?}");
            assert!(!answer.body.contains("root:") && answer.header("set-cookie").is_none(), "{answer:?}");
        }
    }
    assert_eq!(api.get("/api/v1/nodes/../../../../etc/passwd").status, 404);
    assert_untouched(&mut node, &api);
}

#[test]
fn an_address_that_asks_too_often_is_told_to_wait() {
    let (site, api) = site("max_requests_per_second = 20");
    let mut node = ready(&site);

    let answers: Vec<_> = (0..60).map(|_| api.get("/healthz")).collect();

    let refused = answers.iter().find(|answer| answer.status != 200).expect("sixty are too many at once");
    assert_eq!(
        (refused.status, refused.code().as_str(), refused.header("retry-after")),
        (429, "TooManyRequests", Some("1"))
    );
    wait_until("its time comes again", DEADLINE, || {
        let status = api.get("/healthz").status;
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(node.log().matches("was not let in: TooManyRequests").count() < 20, "{}", node.log());
    wait_until(
        "and again",
        DEADLINE,
        || if api.get("/healthz").status == 200 { Ok(()) } else { Err("not yet".into()) },
    );
    let before = node.status().edge("rows", "csv").arrived;
    node.wait("rows go on", |picture| picture.edge("rows", "csv").arrived > before + 100);
}

#[test]
fn a_client_that_never_reads_holds_up_itself_alone() {
    let (site, api) = site("max_connections = 16");
    let mut node = ready(&site);

    let deaf: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = api.connect();
            stream.set_nonblocking(true).unwrap();
            let text = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
            stream.write_all(text.as_bytes()).ok();
            stream
        })
        .collect();

    assert_eq!(api.get("/api/v1/nodes/self/status").status, 200);
    assert_eq!(site.cli(&["restart", "csv"]).code, 0);
    drop(deaf);
    assert_untouched(&mut node, &api);
}
