//! another program's HTTP address is told how many: signed, tried again, under one key for each decision
//!
//!     POST url      {"scaler", "workload", "from", "to", "reason", "decision", "timestamp"}
//!                   Idempotency-Key, Webhook-Id      the decision: the same at each try
//!                   Webhook-Timestamp                when it was sent, seconds since 1970
//!                   Webhook-Signature                v1,base64(HMAC-SHA256(secret, id "." timestamp "." body))
//!     GET observe   ─► {"replicas": 3, "ready": 2}   signed likewise, over an empty body
//!
//! The signature is the one of <https://www.standardwebhooks.com>, so that its libraries check it.
//!
//! **Always:** 2xx means done; 408, 425, 429, 5xx and no answer are tried again, `Retry-After` is obeyed, all else is final.
//! **Never:** a redirect is followed, a secret is printed, more of an answer is read than fits a sentence.

use super::remote::{Deliver, Delivered, Errand, Newer, Patience, Remote, Seen};
use super::{Ground, Kind};
use crate::clock::{Clock, nanos};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::net::{Auth, Client, Get, Post, Reply, Secret};
use crate::units::{DAY, HOUR, Span, within};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// `type = "webhook"`
pub const KIND: Kind = Kind {
    name: "webhook",
    about: "an HTTP address is told how many, signed and under one key for each decision",
    example: r#"type = "webhook"
url = "http://127.0.0.1:8080/scale/web"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
observe = "http://127.0.0.1:8080/scale/web"
"#,
};

/// Secrets shorter than this are guessed.
const SECRET_BYTES_MIN: usize = 16;
/// What of an answer is read.
const ANSWER_BYTES_MAX: usize = 4096;
/// What of it stands in a sentence, in characters.
const ANSWER_CHARS_MAX: usize = 200;
/// A `Retry-After` beyond this counts as this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// The longest wait between two tries where nobody says how long.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// A workload behind an HTTP address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The address that is told.
    pub url: String,
    /// What requests are signed with, 16 bytes or more; `whsec_…` is base64. Write `"${NAME}"` to take it from the environment.
    pub secret: Option<Secret>,
    /// A file that holds it, instead.
    pub secret_file: Option<PathBuf>,
    /// Also sent, as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// A file that holds it, instead.
    pub token_file: Option<PathBuf>,
    /// The address that says how many there are; if not given, as many as were acknowledged.
    pub observe: Option<String>,
    /// Time between two looks at it.
    #[serde(default = "observe_every", deserialize_with = "within::<100, HOUR, _, _>")]
    pub observe_every: Span,
    /// Time for replicas to be there and ready, where `observe` says so.
    #[serde(default = "settle", deserialize_with = "within::<0, DAY, _, _>")]
    pub settle: Span,
    /// Time for one answer.
    #[serde(default = "timeout", deserialize_with = "within::<10, HOUR, _, _>")]
    pub timeout: Span,
    /// Tries after the first.
    #[serde(default = "retries", deserialize_with = "within::<0, 100, _, _>")]
    pub retries: u32,
    /// The wait before the second try; doubled each time, up to a minute.
    #[serde(default = "back_off", deserialize_with = "within::<10, HOUR, _, _>")]
    pub back_off: Span,
    /// A PEM file with the only certificates that are trusted; if not given, the public authorities.
    pub ca: Option<PathBuf>,
    /// Allows a token to travel beyond this machine without TLS.
    #[serde(default)]
    pub insecure: bool,
}

fn observe_every() -> Span {
    Span(Duration::from_secs(10))
}

fn settle() -> Span {
    Span(Duration::from_secs(60))
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

fn retries() -> u32 {
    4
}

fn back_off() -> Span {
    Span(Duration::from_millis(500))
}

impl Config {
    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (key, url) in [("url", Some(&self.url)), ("observe", self.observe.as_ref())] {
            faults.extend(
                url.and_then(|url| self.check_url(key, url).err()).map(|error| Fault { key: key.to_owned(), error }),
            );
        }
        let of = |key: &str, checked: Result<()>| checked.err().map(|error| Fault { key: key.to_owned(), error });
        let key = if self.secret_file.is_some() { "secret_file" } else { "secret" };
        faults.extend(of(key, self.signing_key().map(drop)));
        faults.extend(of("token_file", self.bearer().map(drop)));
        faults.extend(of("ca", self.client().map(drop)));
        faults
    }

    fn check_url(&self, key: &str, url: &str) -> Result<()> {
        let wrong = |what: &str| {
            Err(Error::invalid(format!(
                "{key} = \"{url}\" {what}; write it like `https://platform.example.org/scale/web`"
            )))
        };
        let Ok(uri) = url.parse::<hyper::Uri>() else { return wrong("is not a URL") };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        match uri.scheme_str() {
            Some("http" | "https") if host.is_empty() => return wrong("names no host"),
            Some("http" | "https") if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
                return Err(Error::invalid(format!("{key} has a user or password in it; write `token` instead")));
            }
            Some("http") => {}
            Some("https") => return Ok(()),
            _ => return wrong("is not a URL that can be asked"),
        }
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if (self.token.is_some() || self.token_file.is_some()) && !here && !self.insecure {
            let message =
                format!("{key} = \"{url}\" would carry the token in the clear; use https, or write `insecure = true`");
            return Err(Error::new(ErrorKind::Forbidden, message));
        }
        Ok(())
    }

    /// The bytes that requests are signed with.
    fn signing_key(&self) -> Result<Vec<u8>> {
        let secret = match (&self.secret, &self.secret_file) {
            (Some(_), Some(_)) => return Err(Error::invalid("both `secret` and `secret_file` are given; keep one")),
            (None, None) => {
                return Err(Error::invalid(
                    "nothing signs the requests; write `secret = \"${NAME}\"` or `secret_file`",
                ));
            }
            (Some(secret), None) => secret.clone(),
            (None, Some(path)) => Secret::read(path)?,
        };
        let key = match secret.reveal().strip_prefix("whsec_") {
            None => secret.reveal().as_bytes().to_vec(),
            Some(text) => BASE64_STANDARD.decode(text).map_err(|_| {
                Error::invalid("what follows `whsec_` must be base64, as `openssl rand -base64 32` prints it")
            })?,
        };
        match key.len() >= SECRET_BYTES_MIN {
            true => Ok(key),
            false => Err(Error::invalid(format!(
                "the secret has {} bytes, fewer than {SECRET_BYTES_MIN}; `openssl rand -hex 32` makes a good one",
                key.len()
            ))),
        }
    }

    fn bearer(&self) -> Result<Option<Auth>> {
        match (&self.token, &self.token_file) {
            (Some(_), Some(_)) => Err(Error::invalid("both `token` and `token_file` are given; keep one")),
            (Some(token), None) => Ok(Some(Auth::Bearer(token.clone()))),
            (None, Some(path)) => Ok(Some(Auth::Bearer(Secret::read(path)?))),
            (None, None) => Ok(None),
        }
    }

    fn client(&self) -> Result<Client> {
        Client::new(self.ca.as_deref())
    }
}

/// Opens the workload.
pub(super) async fn open(config: Config, ground: Ground) -> Result<Remote<Webhook>> {
    let webhook = Webhook {
        client: config.client()?,
        key: config.signing_key()?,
        auth: config.bearer()?,
        clock: ground.clock.clone(),
        workload: ground.workload.clone(),
        not_before: AtomicI64::new(i64::MIN),
        config,
    };
    let patience = Patience { observe_every: webhook.config.observe_every.0, settle: webhook.config.settle.0 };
    Ok(Remote::open(webhook, ground, patience).await)
}

/// The other side.
pub(super) struct Webhook {
    client: Client,
    key: Vec<u8>,
    auth: Option<Auth>,
    clock: Clock,
    workload: String,
    /// when it may be told again, as it said itself, ns UTC
    not_before: AtomicI64,
    config: Config,
}

/// What one try came to.
enum Tried {
    Done(u16),
    /// it may work later: why it did not, and when to try, if it said so
    Later(String, Option<Duration>),
    Refused(Error),
}

impl Webhook {
    async fn send(&self, errand: &Errand, newer: &Newer) -> Result<Delivered> {
        let began = self.clock.now();
        let body = self.body(errand);
        let mut told = String::new();
        for attempt in 0..=self.config.retries {
            let asked_to_wait = self.not_before.load(Ordering::SeqCst).saturating_sub(self.clock.now());
            let asked_to_wait = Duration::from_nanos(u64::try_from(asked_to_wait).unwrap_or(0));
            let back_off = match attempt {
                0 => Duration::ZERO,
                _ => self.config.back_off.0.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(BACK_OFF_MAX),
            };
            let wait = asked_to_wait.max(back_off);
            if !wait.is_zero() && !newer.rest(wait).await {
                return Ok(Delivered::GivenUp(told));
            }
            match self.attempt(errand, body.clone()).await {
                Tried::Done(status) => {
                    let seconds = self.clock.now().saturating_sub(began).max(0) as f64 / 1e9;
                    let tries = if attempt == 0 { String::new() } else { format!(", at try {}: {told}", attempt + 1) };
                    let words = format!("acknowledged with {status} in {seconds:.1} s{tries}");
                    return Ok(Delivered::Acknowledged(words));
                }
                Tried::Refused(error) => return Err(error),
                Tried::Later(why, after) => {
                    told = format!("before it {why}");
                    if let Some(after) = after {
                        let until = self.clock.now().saturating_add(nanos(after.min(RETRY_AFTER_MAX)));
                        self.not_before.store(until, Ordering::SeqCst);
                    }
                    tracing::debug!(workload = self.workload, attempt, why, "webhook not acknowledged");
                    if attempt == self.config.retries {
                        let tries = self.config.retries + 1;
                        let message = format!("not acknowledged after {tries} tries, key {}: {why}", errand.key);
                        return Err(Error::new(ErrorKind::Unavailable, message));
                    }
                }
            }
        }
        Err(Error::internal("a webhook was tried no time at all"))
    }

    fn body(&self, errand: &Errand) -> Bytes {
        let change = &errand.change;
        let at = chrono::DateTime::from_timestamp_nanos(change.at);
        let body = serde_json::json!({
            "scaler": change.scaler,
            "workload": self.workload,
            "from": change.from,
            "to": change.to,
            "reason": change.reason,
            "decision": change.decision,
            "timestamp": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        });
        Bytes::from(body.to_string())
    }

    async fn attempt(&self, errand: &Errand, body: Bytes) -> Tried {
        let mut headers = match self.signed(&errand.key, &body) {
            Ok(headers) => headers,
            Err(error) => return Tried::Refused(error),
        };
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        headers.push(("idempotency-key".to_owned(), errand.key.clone()));
        let (url, wait_max) = (self.config.url.clone(), self.config.timeout.0);
        let post = Post { url, wait_max, auth: self.auth.clone(), headers, body };
        let answered = async {
            let mut reply = self.client.post(post).await?;
            let words = if (200..300).contains(&reply.status) { String::new() } else { first_words(&mut reply).await };
            Ok::<_, Error>((reply, words))
        };
        let (reply, words) = match tokio::time::timeout(wait_max, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() == ErrorKind::Invalid => return Tried::Refused(error),
            Ok(Err(error)) => return Tried::Later(error.to_string(), None),
            Err(_) => return Tried::Later(format!("no whole answer within {}", self.config.timeout), None),
        };
        let status = reply.status;
        let said = if words.is_empty() { format!("answered {status}") } else { format!("answered {status}: {words}") };
        match status {
            200..300 => Tried::Done(status),
            408 | 425 | 429 | 500..600 => Tried::Later(said, reply.retry_after(&self.clock)),
            300..400 => Tried::Refused(Error::new(
                ErrorKind::Foreign,
                format!("it {said}; redirects are not followed: write the address it leads to as `url`"),
            )),
            _ => {
                Tried::Refused(Error::new(ErrorKind::Foreign, format!("it {said}, which is final; key {}", errand.key)))
            }
        }
    }

    /// The headers that say who sends this, and when.
    fn signed(&self, id: &str, body: &[u8]) -> Result<Vec<(String, String)>> {
        let seconds = self.clock.now() / 1_000_000_000;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .map_err(|error| Error::internal(format!("a webhook cannot be signed: {error}")))?;
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        Ok(vec![
            ("user-agent".to_owned(), concat!("tidemill/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("webhook-id".to_owned(), id.to_owned()),
            ("webhook-timestamp".to_owned(), seconds.to_string()),
            ("webhook-signature".to_owned(), format!("v1,{signature}")),
        ])
    }

    async fn count(&self) -> Result<Seen> {
        let url = self.config.observe.clone().unwrap_or_default();
        let id = format!("observe/{}/{}", self.workload, self.clock.now());
        let get = Get {
            wait_max: self.config.timeout.0,
            bytes_max: ANSWER_BYTES_MAX as u64,
            accept: "application/json".to_owned(),
            auth: self.auth.clone(),
            headers: self.signed(&id, b"")?,
            ..Get::new(url)
        };
        let page = self.client.get(&get).await?;
        seen(page.status, &page.body)
    }
}

/// How many there are, as `observe` answers it.
fn seen(status: u16, body: &[u8]) -> Result<Seen> {
    #[derive(Deserialize)]
    struct Answer {
        replicas: u32,
        ready: Option<u32>,
    }
    let wrong = |what: String| {
        let wanted = "it must answer 200 with {\"replicas\": 3, \"ready\": 2}";
        Error::new(ErrorKind::Foreign, format!("observe {what}; {wanted}"))
    };
    if status != 200 {
        return Err(wrong(format!("answered {status}")));
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| wrong(format!("answered what cannot be read ({error})")))?;
    Ok(Seen { replicas: answer.replicas, ready: answer.ready.unwrap_or(answer.replicas) })
}

/// How an answer begins, on one line.
async fn first_words(reply: &mut Reply) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(part)) = reply.body.next().await {
        bytes.extend_from_slice(&part);
        if bytes.len() >= ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(ANSWER_CHARS_MAX);
    plain.collect::<String>().trim().to_owned()
}

impl Deliver for Webhook {
    fn deliver<'a>(&'a self, errand: &'a Errand, newer: &'a Newer) -> BoxFuture<'a, Result<Delivered>> {
        Box::pin(self.send(errand, newer))
    }

    fn can_look(&self) -> bool {
        self.config.observe.is_some()
    }

    fn look(&self) -> BoxFuture<'_, Result<Seen>> {
        Box::pin(self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        toml::from_str(&format!("url = \"http://127.0.0.1:9/\"\n{more}")).unwrap()
    }

    #[tokio::test]
    async fn the_signature_is_the_one_of_its_specification() {
        // The example of the specification's libraries: this secret, id, time and body have this signature.
        let config = config("secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"");
        let webhook = Webhook {
            client: config.client().unwrap(),
            key: config.signing_key().unwrap(),
            auth: None,
            clock: Clock::held(1_614_265_330_000_000_000),
            workload: "web".to_owned(),
            not_before: AtomicI64::new(i64::MIN),
            config,
        };
        let headers = webhook.signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b"{\"test\": 2432232314}").unwrap();
        assert_eq!(headers[2].1, "1614265330");
        assert_eq!(headers[3].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn mistakes_are_named() {
        let secret = "secret = \"0123456789abcdef\"\n";
        for (more, named) in [
            ("", "secret: nothing signs the requests"),
            ("secret = \"short\"", "secret: the secret has 5 bytes"),
            ("secret = \"whsec_%%\"", "secret: what follows `whsec_` must be base64"),
            ("secret_file = \"/nowhere\"", "secret_file: `/nowhere`: cannot read the secret"),
            (&format!("{secret}secret_file = \"x\""), "secret_file: both `secret`"),
            (&format!("{secret}observe = \"/scale\""), "observe: observe = \"/scale\" is not a URL that can be asked"),
            (&format!("{secret}observe = \"http://u:p@h/\""), "observe: observe has a user or password"),
            (
                &format!("{secret}token = \"t\"\nobserve = \"http://10.1.2.3/\""),
                "observe: observe = \"http://10.1.2.3/\" would",
            ),
            (&format!("{secret}ca = \"/nowhere\""), "ca: `/nowhere`: cannot read it for TLS"),
            (&format!("{secret}token_file = \"/nowhere\""), "token_file: `/nowhere`"),
        ] {
            let faults = config(more).faults();
            let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.error)).collect();
            assert!(told.len() == 1 && told[0].starts_with(named), "{more}: {told:?}");
        }
        assert!(config(secret).faults().is_empty());
        assert!(!format!("{:?}", config(secret)).contains("0123456789abcdef"));
    }

    #[test]
    fn answers_of_observe() {
        assert_eq!(seen(200, b"{\"replicas\":3,\"ready\":2,\"more\":1}").unwrap(), Seen { replicas: 3, ready: 2 });
        assert_eq!(seen(200, b"{\"replicas\":0}").unwrap(), Seen { replicas: 0, ready: 0 });
        for (status, body) in [(404, &b"{\"replicas\":3}"[..]), (200, b"3"), (200, b"{\"replicas\":-1}"), (200, b"")] {
            let error = seen(status, body).unwrap_err();
            assert!(error.message().contains("it must answer 200 with"), "{error}");
        }
    }
}
