//! Which web pages may ask, from the browsers of people: our own, and those of configured origins.
//!
//! A browser says in `Origin` and `Sec-Fetch-Site` whose page asks; a program that is no browser says neither.

use axum::http::{HeaderMap, HeaderValue, Method};

/// The origins that are configured.
#[derive(Debug)]
pub(super) struct Origins {
    allowed: Vec<String>,
    scheme: &'static str,
}

/// What is to be said to a page that may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asker {
    /// No page, or our own.
    Own,
    /// A page of this origin, which is configured.
    Page(HeaderValue),
}

/// A page that may not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stranger;

impl Origins {
    pub(super) fn new(allowed: &[String], is_tls: bool) -> Self {
        let allowed = allowed.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        Self { allowed, scheme: if is_tls { "https" } else { "http" } }
    }

    /// Looks who asks; `host` is what the request says as its host, and is one of ours.
    ///
    /// # Errors
    /// [`Stranger`].
    pub(super) fn look_at(&self, method: &Method, headers: &HeaderMap, host: &str) -> Result<Asker, Stranger> {
        let mut origins = headers.get_all("origin").iter();
        match (origins.next(), origins.next()) {
            (Some(_), Some(_)) => Err(Stranger),
            (Some(origin), None) => self.of_origin(origin, host),
            (None, _) => by_site(method, headers),
        }
    }

    fn of_origin(&self, origin: &HeaderValue, host: &str) -> Result<Asker, Stranger> {
        let text = origin.to_str().map_err(|_| Stranger)?.to_ascii_lowercase();
        let own = format!("{}://{}", self.scheme, host.to_ascii_lowercase());
        match text {
            text if text == own => Ok(Asker::Own),
            text if self.allowed.contains(&text) => Ok(Asker::Page(origin.clone())),
            _ => Err(Stranger),
        }
    }
}

/// Without `Origin`: what the browser says of the page. A link that somebody follows is fine: the page that has it sees
/// nothing of the answer, and a GET changes nothing.
fn by_site(method: &Method, headers: &HeaderMap) -> Result<Asker, Stranger> {
    let said = |name| headers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap_or("?"));
    let is_link =
        *method == Method::GET && said("sec-fetch-mode") == "navigate" && said("sec-fetch-dest") == "document";
    match said("sec-fetch-site") {
        "" | "none" | "same-origin" => Ok(Asker::Own),
        _ if is_link => Ok(Asker::Own),
        _ => Err(Stranger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(method: &Method, headers: &[(&'static str, &str)]) -> Result<Asker, Stranger> {
        let origins = Origins::new(&["https://control.example/".into()], false);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        origins.look_at(method, &map, "lab7:8000")
    }

    #[test]
    fn programs_our_own_pages_and_configured_ones_may_ask() {
        for method in [Method::GET, Method::POST] {
            assert_eq!(look(&method, &[]), Ok(Asker::Own));
            assert_eq!(look(&method, &[("origin", "http://LAB7:8000")]), Ok(Asker::Own));
            assert_eq!(look(&method, &[("sec-fetch-site", "same-origin")]), Ok(Asker::Own));
            let page = [("origin", "https://control.example"), ("sec-fetch-site", "cross-site")];
            assert_eq!(look(&method, &page), Ok(Asker::Page("https://control.example".parse().unwrap())));
        }
    }

    #[test]
    fn other_pages_may_not() {
        for origin in ["http://evil.example", "null", "http://lab7", "https://lab7:8000", "http://lab7:8001", ""] {
            assert_eq!(look(&Method::GET, &[("origin", origin)]), Err(Stranger), "{origin:?}");
        }
        let twice = [("origin", "http://lab7:8000"), ("origin", "http://evil.example")];
        assert_eq!(look(&Method::GET, &twice), Err(Stranger));
        for site in ["cross-site", "same-site", "anything"] {
            assert_eq!(look(&Method::POST, &[("sec-fetch-site", site)]), Err(Stranger));
            assert_eq!(look(&Method::GET, &[("sec-fetch-site", site)]), Err(Stranger));
        }
    }

    #[test]
    fn a_link_may_be_followed_but_no_form_sent() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert_eq!(look(&Method::GET, &link), Ok(Asker::Own));
        assert_eq!(look(&Method::POST, &link), Err(Stranger));
        let frame = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert_eq!(look(&Method::GET, &frame), Err(Stranger));
    }
}
