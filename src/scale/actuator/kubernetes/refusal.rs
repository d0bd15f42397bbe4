//! what an API server refuses, in words that say what to do

use crate::error::{Error, ErrorKind};
use std::fmt;
use std::time::Duration;

/// The most of an answer that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// What is asked of the API server.
#[derive(Clone, Debug)]
pub struct Deed {
    /// `get`, `create`, `update`: as a Role names it
    pub verb: &'static str,
    /// the API group; empty for the core
    pub group: String,
    /// `deployments/scale`
    pub resource: String,
    /// the object
    pub name: String,
    /// where it is
    pub namespace: String,
}

/// Why something was not done.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// what code decides by
    pub why: Why,
    /// for people
    pub error: Error,
}

/// What sort of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// 409: it was changed since it was read, or is there already
    Conflict,
    /// 404
    Missing,
    /// 403
    Forbidden,
    /// 401, with credentials that were just read again
    Unknown,
    /// 429: not before so long
    Busy(Duration),
    /// we may no longer do it
    NotAllowed,
    /// nobody knows whether it was done: no answer in time, or the connection broke
    Unanswered,
    /// anything else that was answered: it was not done
    Other,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} `{}` in namespace `{}`", self.verb, self.resource, self.name, self.namespace)
    }
}

impl Refusal {
    /// What an answer with this status and body means. `pause` is what its `Retry-After` says.
    pub fn of(deed: &Deed, status: u16, body: &[u8], pause: Option<Duration>) -> Refusal {
        let said = said(body);
        let told = |kind, what: String| Error::new(kind, format!("cannot {deed}: {what} ({status}: {said})"));
        let (why, error) = match status {
            401 => (
                Why::Unknown,
                told(
                    ErrorKind::Forbidden,
                    "the API server does not accept the credentials, which were read again; look at the kubeconfig's user, \
                     its token or certificate may have expired"
                        .to_owned(),
                ),
            ),
            403 => {
                let Deed { verb, group, resource, namespace, .. } = deed;
                let what = format!(
                    "not allowed; give it a Role in namespace `{namespace}` with apiGroups: [\"{group}\"], resources: [\"{resource}\"], \
                     verbs: [\"{verb}\"]"
                );
                (Why::Forbidden, told(ErrorKind::Forbidden, what))
            }
            404 => (Why::Missing, told(ErrorKind::Missing, "it is not there; look at its name, namespace and kind".to_owned())),
            409 => (Why::Conflict, told(ErrorKind::Conflict, "somebody else changed it first".to_owned())),
            429 => {
                let pause = pause.unwrap_or(Duration::from_secs(1));
                let what = format!("the API server is busy and asks to wait for {} s", pause.as_secs());
                (Why::Busy(pause), told(ErrorKind::Unavailable, what))
            }
            500.. => (Why::Unanswered, told(ErrorKind::Unavailable, "the API server fails".to_owned())),
            _ => (Why::Other, told(ErrorKind::Foreign, "the API server refuses".to_owned())),
        };
        Refusal { why, error }
    }

    /// There was no answer: whether it was done, nobody knows.
    pub fn unanswered(deed: &Deed, what: impl fmt::Display) -> Refusal {
        Refusal { why: Why::Unanswered, error: Error::new(ErrorKind::Unavailable, format!("cannot {deed}: {what}")) }
    }

    /// It was not sent, or what came back says nothing.
    pub fn other(deed: &Deed, why: Why, what: impl fmt::Display) -> Refusal {
        Refusal { why, error: Error::new(ErrorKind::Unavailable, format!("cannot {deed}: {what}")) }
    }
}

/// The message of a `Status`, or the answer's own text, on one line.
fn said(body: &[u8]) -> String {
    let status: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status.get("message")?.as_str()).map(str::to_owned);
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS_MAX).collect();
    if line.is_empty() { "it says nothing".to_owned() } else { line }
}

/// An error with all that caused it.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_told = cause.to_string();
        if !told.contains(&cause_told) {
            told = format!("{told}: {cause_told}");
        }
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let deed = Deed {
            verb: "update",
            group: "apps".to_owned(),
            resource: "deployments/scale".to_owned(),
            name: "web".to_owned(),
            namespace: "shop".to_owned(),
        };
        let status = br#"{"kind":"Status","status":"Failure","message":"no such luck","code":1}"#;
        for (code, body, why, told) in [
            (401, &status[..], Why::Unknown, "may have expired (401: no such luck)"),
            (
                403,
                status,
                Why::Forbidden,
                "apiGroups: [\"apps\"], resources: [\"deployments/scale\"], verbs: [\"update\"]",
            ),
            (404, status, Why::Missing, "it is not there"),
            (409, status, Why::Conflict, "somebody else changed it first"),
            (429, b"Too many\nrequests", Why::Busy(Duration::from_secs(7)), "wait for 7 s (429: Too many requests)"),
            (500, b"", Why::Unanswered, "it says nothing"),
            (422, status, Why::Other, "refuses (422"),
        ] {
            let refusal = Refusal::of(&deed, code, body, Some(Duration::from_secs(7)));
            assert_eq!(refusal.why, why, "{code}");
            let message = refusal.error.to_string();
            assert!(message.starts_with("cannot update deployments/scale `web` in namespace `shop`: "), "{message}");
            assert!(message.contains(told), "{message}");
        }
        assert_eq!(Refusal::of(&deed, 429, b"", None).why, Why::Busy(Duration::from_secs(1)));
    }
}
