//! who may come in: host, origin, token, sizes
//!
//! A web page can make its visitor's browser send requests to any address, this machine's included, and read the answers if it gives
//! its own name that address (DNS rebinding). So the name a request was sent to must be one of ours, and a page that asks must
//! be one of ours. An IP address cannot be rebound; a listener on all addresses answers to any of them.

use super::answer::Refusal;
use crate::net::{Access, Secret};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The rules at the door.
pub struct Guard {
    listens_on: IpAddr,
    hosts: Vec<Authority>,
    token: Option<Secret>,
    url_bytes_max: usize,
}

/// `host` or `host:port`, in lower case; an IPv6 address without its brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

/// Lets a request in or refuses it.
pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Guard {
    /// The rules for a listener.
    pub fn new(access: &Access) -> Guard {
        Guard {
            listens_on: access.address.ip(),
            hosts: access.hosts.iter().filter_map(|host| Authority::parse(host)).collect(),
            token: access.token.clone(),
            url_bytes_max: access.limits.head_max.as_usize() / 4,
        }
    }

    /// Whether a request with this head may come in.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let url_bytes = uri.path_and_query().map_or(0, |text| text.as_str().len());
        if url_bytes > self.url_bytes_max {
            let message =
                format!("the URL has {url_bytes} bytes, more than {}; POST takes long texts", self.url_bytes_max);
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, "limit", message));
        }
        let host = self.check_host(uri, headers)?;
        self.check_origin(&host, headers)?;
        match uri.path() {
            // Whoever watches over the process need not know its secrets.
            "/livez" | "/readyz" => Ok(()),
            _ => self.check_token(headers),
        }
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refusal> {
        let mut named = headers.get_all(HOST).iter().map(|host| host.to_str().ok());
        let header = match (named.next(), named.next()) {
            (None, _) => None,
            (Some(Some(host)), None) => Some(host),
            (Some(_), _) => return Err(Refusal::invalid("the request must have one readable `Host` header")),
        };
        // HTTP/2 says it in the URL, HTTP/1.1 in the header; who says it twice must say the same.
        let places = [uri.authority().map(|authority| authority.as_str()), header];
        let mut found = None;
        for text in places.into_iter().flatten() {
            let host = Authority::parse(text).ok_or_else(|| Refusal::invalid("the `Host` header is not a host"))?;
            if !self.is_ours(&host) {
                let message = format!(
                    "`{}` is not a name of this server; add it to `hosts` in `[server]`, or use an address it listens on",
                    host.host
                );
                return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
            }
            if found.as_ref().is_some_and(|before| *before != host) {
                return Err(Refusal::invalid("the URL and the `Host` header name different hosts"));
            }
            found = Some(host);
        }
        found.ok_or_else(|| Refusal::invalid("the request must have one readable `Host` header"))
    }

    fn is_ours(&self, host: &Authority) -> bool {
        let by_address = host.host.parse::<IpAddr>().is_ok_and(|address| {
            address.is_loopback() || address == self.listens_on || self.listens_on.is_unspecified()
        });
        by_address || host.host == "localhost" || self.is_configured(host)
    }

    fn is_configured(&self, host: &Authority) -> bool {
        let fits = |ours: &Authority| ours.host == host.host && (ours.port.is_none() || ours.port == host.port);
        self.hosts.iter().any(fits)
    }

    fn check_origin(&self, host: &Authority, headers: &HeaderMap) -> Result<(), Refusal> {
        let foreign = |page: &str| {
            let message =
                format!("a web page of `{page}` may not ask this server; add its host to `hosts` in `[server]`");
            Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message))
        };
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or("null");
            let Some((scheme, page)) = origin.split_once("://") else { return foreign("unknown origin") };
            let Some(page) = Authority::parse(page) else { return foreign("unknown origin") };
            let same = page.host == host.host && page.port_of(scheme) == host.port_of(scheme);
            if !same && !self.is_configured(&page) {
                return foreign(&page.host);
            }
        }
        // Images and scripts are asked for without an origin. Following a link is fine.
        let sent = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let from_elsewhere = matches!(sent("sec-fetch-site"), Some("cross-site" | "same-site"));
        if from_elsewhere && !headers.contains_key(ORIGIN) && sent("sec-fetch-mode") != Some("navigate") {
            return foreign("another site");
        }
        Ok(())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let sent = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let bearer = sent.and_then(|value| {
            let (scheme, rest) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
        });
        let message = match bearer {
            Some(sent) if token.matches(sent) => return Ok(()),
            Some(_) => "the token is wrong; it is the one in `[server]` of Tidemill's config",
            None => "a token is needed; send it as `Authorization: Bearer …`",
        };
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "forbidden", message);
        Err(refusal.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidemill\"")))
    }
}

impl Authority {
    fn parse(text: &str) -> Option<Authority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map(str::parse::<u16>).transpose().ok()?;
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let good = !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._:".contains(&c));
        good.then_some(Authority { host, port })
    }

    fn port_of(&self, scheme: &str) -> u16 {
        let default = if scheme == "https" { 443 } else { 80 };
        self.port.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Listen;

    fn status(listen: &str, url: &str, headers: &[(&str, &str)]) -> u16 {
        let access = toml::from_str::<Listen>(listen).unwrap().open().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        match Guard::new(&access).check(&url.parse().unwrap(), &map) {
            Ok(()) => 200,
            Err(refusal) => refusal.into_response().status().as_u16(),
        }
    }

    #[test]
    fn hosts() {
        let (local, named) = ("", "hosts = ['Logs.example.org', 'x.org:8443']");
        let (one, all) = ("address = '10.1.2.3:7070'\ninsecure = true", "address = '0.0.0.0:7070'\ninsecure = true");
        for (listen, host, expected) in [
            (local, "127.0.0.1:7070", 200),
            (local, "localhost", 200),
            (local, "LOCALHOST.:8080", 200),
            (local, "[::1]:7070", 200),
            (local, "evil.example.org", 403),
            (local, "127.0.0.1.evil.org", 403),
            (local, "localhost.evil.org", 403),
            (local, "10.1.2.3", 403),
            (local, "a b", 400),
            (local, "x:y", 400),
            (local, "", 400),
            (named, "logs.EXAMPLE.org:1234", 200),
            (named, "x.org:8443", 200),
            (named, "x.org", 403),
            (one, "10.1.2.3:7070", 200),
            (one, "10.1.2.4:7070", 403),
            (all, "10.9.9.9:7070", 200),
            (all, "[fe80::1]:7070", 200),
            (all, "evil.example.org", 403),
        ] {
            assert_eq!(status(listen, "/v1/sql", &[("host", host)]), expected, "{listen} {host}");
            let absolute = status(listen, &format!("http://{}/", if expected == 400 { "x" } else { host }), &[]);
            assert_eq!(absolute, if expected == 400 { 403 } else { expected }, "{listen} {host} in the URL");
        }
        assert_eq!(status(local, "/", &[]), 400);
        assert_eq!(status(local, "/", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(status(local, "http://localhost/", &[("host", "127.0.0.1")]), 400);
    }

    #[test]
    fn origins() {
        let named = "hosts = ['grafana.example.org:3000', 'ui.example.org']";
        for (origin, expected) in [
            ("http://localhost:7070", 200),
            ("http://LocalHost:7070", 200),
            ("http://localhost:3000", 403),
            ("http://localhost", 403),
            ("http://evil.example.org", 403),
            ("null", 403),
            ("http://", 403),
            ("http://grafana.example.org:3000", 200),
            ("http://grafana.example.org", 403),
            ("https://ui.example.org", 200),
        ] {
            let headers = [("host", "localhost:7070"), ("origin", origin)];
            assert_eq!(status(named, "/", &headers), expected, "{origin}");
        }
        assert_eq!(status("", "/", &[("host", "localhost"), ("origin", "http://localhost:80")]), 200);
        for (site, mode, expected) in [
            ("cross-site", "no-cors", 403),
            ("same-site", "cors", 403),
            ("cross-site", "navigate", 200),
            ("none", "", 200),
        ] {
            let headers = [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            assert_eq!(status("", "/", &headers), expected, "{site} {mode}");
        }
    }

    #[test]
    fn tokens() {
        for (url, authorization, expected) in [
            ("/v1/sql", "Bearer s3cret", 200),
            ("/v1/sql", "bearer  s3cret", 200),
            ("/v1/sql", "Bearer s3cre", 401),
            ("/v1/sql", "Bearer s3cret2", 401),
            ("/v1/sql", "Bearer ", 401),
            ("/v1/sql", "Basic s3cret", 401),
            ("/v1/sql", "s3cret", 401),
            ("/v1/admin/flush", "", 401),
            ("/metrics", "", 401),
            ("/nothing", "", 401),
            ("/livez", "", 200),
            ("/readyz", "", 200),
        ] {
            let headers = [("host", "localhost"), ("authorization", authorization)];
            assert_eq!(status("token = 's3cret'", url, &headers), expected, "{url} {authorization}");
        }
        assert_eq!(status("token = 's3cret'", "/v1/sql", &[("host", "localhost")]), 401);
    }

    #[test]
    fn long_urls() {
        let url = format!("/v1/sql?q={}", "x".repeat(17 << 10));
        assert_eq!(status("", &url, &[("host", "localhost")]), 414);
    }
}
