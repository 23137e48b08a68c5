//! The REST API over HTTPS, and beyond loopback.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use crate::harness::{DEADLINE, Site, said, wait_until};
use crate::rest_client::{Api, TEST, tokens, with_api, with_cnc};

/// Asks over HTTPS, with Python's own library: prints the answer, and the certificate's name.
const ASK: &str = r#"
import http.client, ssl, sys
port, path, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=sys.argv[4])
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
connection.request("GET", path)
answer = connection.getresponse()
names = dict(pair for part in connection.sock.getpeercert()["subject"] for pair in part) if connection.sock else {}
print(answer.status, names.get("organizationName"), answer.read().decode())
"#;

/// A certificate of its own for `localhost`, in `tls/`; the name tells it from others.
fn certificate(site: &Site, name: &str) {
    std::fs::create_dir_all(site.path("configs/tls")).unwrap();
    let subject = format!("/O={name}/CN=localhost");
    let args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let mut command = Command::new("openssl");
    command.args(args).args(["-subj", &subject, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.args(["-keyout", "new.key", "-out", "new.crt"]).current_dir(site.path("configs/tls"));
    let made = said(&mut command);
    assert_eq!(made.code, 0, "{made:?}");
    for file in ["crt", "key"] {
        std::fs::rename(site.path(format!("configs/tls/new.{file}")), site.path(format!("configs/tls/rest.{file}")))
            .unwrap();
    }
}

fn ask(site: &Site, api: &Api, version: &str) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", ASK, &api.port.to_string(), "/healthz", version]).arg(site.path("configs/tls/rest.crt"));
    let answer = said(&mut command);
    answer.out + &answer.err
}

const TLS: &str = "tls_cert = \"tls/rest.crt\"\ntls_key = \"tls/rest.key\"";

#[test]
fn https_is_spoken_and_a_renewed_certificate_counts_without_a_restart() {
    let (site, api) = with_api(Site::of_enrgdaq().csv().job("test", TEST), TLS);
    certificate(&site, "first");
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    for version in ["TLSv1_2", "TLSv1_3"] {
        let answer = ask(&site, &api, version);
        assert!(answer.starts_with("200 first {\"status\":\"ok\"}"), "{version}: {answer}");
    }
    assert!(!ask(&site, &api, "TLSv1_1").starts_with("200"));
    certificate(&site, "second");
    wait_until("the new one is shown", DEADLINE, || {
        let answer = ask(&site, &api, "TLSv1_3");
        if answer.starts_with("200 second") { Ok(()) } else { Err(answer) }
    });
    let kept = std::fs::read(site.path("configs/tls/rest.crt")).unwrap();
    std::fs::write(site.path("configs/tls/rest.crt"), "nonsense").unwrap();
    wait_until("it is said", DEADLINE, || {
        if node.log().contains("the former certificate counts on") { Ok(()) } else { Err(node.log()) }
    });
    std::fs::write(site.path("configs/tls/rest.crt"), kept).unwrap();
    assert!(ask(&site, &api, "TLSv1_3").starts_with("200 second"));
}

#[test]
fn who_speaks_no_tls_on_its_port_is_hung_up_on() {
    let (site, api) = with_api(Site::of_enrgdaq().csv(), TLS);
    certificate(&site, "first");
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    let mut stream = api.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    // Those that never begin take nobody's place for long.
    let silent: Vec<_> = (0..300).map_while(|_| std::net::TcpStream::connect(("127.0.0.1", api.port)).ok()).collect();

    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    assert!(ask(&site, &api, "TLSv1_3").starts_with("200 first"));
    let mut first = silent.into_iter().next().unwrap();
    first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0, "a handshake may take 10 s");
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start_with_a_clear_error() {
    let (site, _) = with_api(Site::of_enrgdaq().csv(), TLS);
    let start = || {
        let said = site.cli(&["--config", "configs"]);
        assert!((1..=2).contains(&said.code), "{said:?}");
        said.out + &said.err
    };

    assert!(start().contains("`tls_cert`: there is no such file"), "{}", start());
    certificate(&site, "first");
    std::fs::copy(site.path("configs/tls/rest.key"), site.path("configs/tls/other.key")).unwrap();
    certificate(&site, "second");
    std::fs::rename(site.path("configs/tls/other.key"), site.path("configs/tls/rest.key")).unwrap();
    assert!(start().contains("do not go together"), "{}", start());
    std::fs::write(site.path("configs/tls/rest.key"), "").unwrap();
    assert!(start().contains("tls/rest.key is no private key"), "{}", start());
    std::fs::write(site.path("configs/tls/rest.crt"), "nonsense").unwrap();
    assert!(start().contains("tls/rest.crt has no certificate"), "{}", start());
}

#[test]
fn beyond_loopback_everybody_needs_a_token_and_is_told_what_is_in_clear() {
    let (site, api) = with_cnc(Site::of_enrgdaq().csv(), "rest_api_host = \"0.0.0.0\"", "");
    let token = tokens(&site, &["viewer"]).remove(0);
    let mut node = site.start();
    node.wait_ready(&["csv"]);

    assert!(node.log().contains("open to the network without encryption"), "{}", node.log());
    assert_eq!(api.get("/api/v1/me").status, 401);
    assert_eq!(api.with_token(&token).get("/api/v1/me").fine()["role"], "viewer");
    assert_eq!(api.get("/healthz").status, 200);
}
