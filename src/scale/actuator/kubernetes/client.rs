//! requests to an API server: signed in, bounded in time, patient where it asks for patience
//!
//!     request ─► may we still? ─► paused? ─► sent ─► 2xx
//!                     ▲              ▲         ├ 401 ─► credentials read again, once
//!                     └──────────────┴─────────└ 429 ─► nobody sends before Retry-After is over
//!
//! Who we are and where the server is, the kube crate knows: kubeconfig with tokens, token files, client certificates and exec plugins, or
//! the service account of a pod. It sends each request once; what to do about an answer is decided here.
//!
//! **Always:** a request has an end, also while the server hangs: its time limit, which counts waiting for a pause too.

use super::refusal::{Deed, Refusal, Why, chain};
use crate::error::{Error, ErrorKind, Result};
use crate::units::Span;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, header};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// The longest that credentials may take to be read, exec plugins included.
const CREDENTIALS_MAX: Duration = Duration::from_secs(30);
/// The longest pause that is believed.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Where the API server is, and who we are to it.
#[derive(Clone, Debug)]
pub struct Access {
    /// the kubeconfig; `$KUBECONFIG`, `~/.kube/config` or the pod's service account if not given
    pub kubeconfig: Option<PathBuf>,
    /// the kubeconfig's context; its current one if not given
    pub context: Option<String>,
}

/// A connection to an API server.
pub struct Client {
    access: Access,
    state: Mutex<State>,
    /// held while credentials are read, so that they are read once for all who were refused
    reading: tokio::sync::Mutex<()>,
    /// where it is, for errors
    server: String,
    /// the namespace of the context or the pod
    pub namespace: String,
}

struct State {
    client: kube::Client,
    /// how often credentials were read
    reads: u64,
    paused_until: Option<Instant>,
}

/// One request.
pub struct Call<'a> {
    /// what it does
    pub deed: &'a Deed,
    /// HTTP's word for it
    pub method: Method,
    /// from `/apis` on
    pub path: String,
    /// JSON; empty for none
    pub body: Vec<u8>,
    /// when it is given up
    pub until: Instant,
    /// looked at each time before it is sent
    pub may: &'a (dyn Fn() -> bool + Sync),
}

impl Access {
    /// Reads kubeconfig and credentials; a file that is missing or wrong is told, nothing is sent.
    async fn connect(&self) -> Result<(kube::Client, String)> {
        let connecting = async {
            let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
            let config = match &self.kubeconfig {
                Some(path) => {
                    let file = Kubeconfig::read_from(path).map_err(|error| self.wrong(&error))?;
                    kube::Config::from_custom_kubeconfig(file, &options).await.map_err(|error| self.wrong(&error))?
                }
                None if self.context.is_some() => {
                    kube::Config::from_kubeconfig(&options).await.map_err(|error| self.wrong(&error))?
                }
                None => kube::Config::infer().await.map_err(|error| self.wrong(&error))?,
            };
            let mut config = config;
            // A write that is sent again by itself would be sent past the lease.
            config.default_retry = false;
            let server = config.cluster_url.to_string();
            // An exec plugin is run here, and may wait for whatever it likes.
            let built = tokio::task::spawn_blocking(move || kube::Client::try_from(config)).await;
            let client = built
                .map_err(|error| Error::internal(format!("reading credentials ended early: {error}")))?
                .map_err(|error| self.wrong(&error))?;
            Ok((client, server))
        };
        tokio::time::timeout(CREDENTIALS_MAX, connecting).await.unwrap_or_else(|_| {
            let limit = Span(CREDENTIALS_MAX);
            Err(Error::new(ErrorKind::Limit, format!("{} gave no credentials within {limit}", self.place())))
        })
    }

    fn wrong(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let hint = match (&self.kubeconfig, &self.context) {
            (Some(_), _) | (None, Some(_)) => "look at its contexts, clusters and users",
            (None, None) => "give `kubeconfig`, or run in a pod with a service account",
        };
        Error::invalid(format!("cannot use {}: {}; {hint}", self.place(), chain(error)))
    }

    fn place(&self) -> String {
        let context = self.context.as_ref().map(|context| format!(", context `{context}`")).unwrap_or_default();
        match &self.kubeconfig {
            Some(path) => format!("the kubeconfig {}{context}", path.display()),
            None if self.context.is_some() => format!("the kubeconfig{context}"),
            None => "a kubeconfig or a pod's service account".to_owned(),
        }
    }
}

impl Client {
    /// Reads the credentials; nothing is sent yet.
    pub async fn open(access: Access) -> Result<Client> {
        let (client, server) = access.connect().await?;
        let namespace = client.default_namespace().to_owned();
        let state = Mutex::new(State { client, reads: 0, paused_until: None });
        Ok(Client { access, state, reading: tokio::sync::Mutex::new(()), server, namespace })
    }

    /// Sends a request until it is answered, refused, or its time is over. The answer's body, if it was done.
    pub async fn send(&self, call: &Call<'_>) -> std::result::Result<Bytes, Refusal> {
        let mut read_again = false;
        loop {
            self.wait(call).await?;
            if !(call.may)() {
                return Err(Refusal::other(call.deed, Why::NotAllowed, "leadership was lost before it was sent"));
            }
            let (client, reads) = {
                let state = self.lock();
                (state.client.clone(), state.reads)
            };
            let (status, pause, body) = self.attempt(&client, call).await?;
            match status {
                200..=299 => return Ok(body),
                401 if !read_again => {
                    read_again = true;
                    self.read_again(reads, call).await?;
                }
                429 => {
                    let pause = pause.unwrap_or(Duration::from_secs(1)).min(PAUSE_MAX);
                    self.pause(pause);
                    if Instant::now() + pause >= call.until {
                        return Err(Refusal::of(call.deed, status, &body, Some(pause)));
                    }
                }
                _ => return Err(Refusal::of(call.deed, status, &body, pause)),
            }
        }
    }

    /// Sends it once: status, `Retry-After`, body.
    async fn attempt(
        &self,
        client: &kube::Client,
        call: &Call<'_>,
    ) -> std::result::Result<(u16, Option<Duration>, Bytes), Refusal> {
        // A server that gives up with us does nothing late.
        let left = call.until.saturating_duration_since(Instant::now()).as_millis().max(1);
        let path = match call.method {
            Method::GET => call.path.clone(),
            _ => format!("{}?timeout={left}ms", call.path),
        };
        let request = Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Body::from(call.body.clone()))
            .map_err(|error| Refusal::other(call.deed, Why::Other, error))?;
        let server = &self.server;
        let answered = async {
            let unreachable = |error: &(dyn std::error::Error + 'static)| {
                Refusal::unanswered(call.deed, format!("the API server {server} cannot be reached: {}", chain(error)))
            };
            let answer: Response<Body> = client.send(request).await.map_err(|error| unreachable(&error))?;
            let (parts, body) = answer.into_parts();
            let pause =
                parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| unreachable(&*error))?;
            Ok((parts.status.as_u16(), pause.map(Duration::from_secs), body.to_bytes()))
        };
        timeout_at(call.until, answered).await.unwrap_or_else(|_| {
            Err(Refusal::unanswered(call.deed, format!("the API server {server} did not answer in time")))
        })
    }

    /// Waits until the server wants to hear from us again.
    async fn wait(&self, call: &Call<'_>) -> std::result::Result<(), Refusal> {
        let now = Instant::now();
        let Some(until) = self.lock().paused_until.filter(|until| now < *until) else { return Ok(()) };
        if until >= call.until {
            let pause = until.duration_since(now);
            let what = format!("the API server is busy and asked to wait, for another {} s", pause.as_secs() + 1);
            return Err(Refusal::other(call.deed, Why::Busy(pause), what));
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        state.paused_until = Some(state.paused_until.map_or(until, |earlier| earlier.max(until)));
        tracing::warn!(server = self.server, seconds = pause.as_secs(), "the API server asks to wait");
    }

    /// Reads the credentials again, unless somebody did since these were used.
    async fn read_again(&self, reads: u64, call: &Call<'_>) -> std::result::Result<(), Refusal> {
        let reading = async {
            let _one_reads = self.reading.lock().await;
            if self.lock().reads != reads {
                return Ok(());
            }
            let (client, _) = self.access.connect().await?;
            let mut state = self.lock();
            (state.client, state.reads) = (client, reads + 1);
            tracing::info!(server = self.server, "credentials were not accepted any more, and read again");
            Ok::<(), Error>(())
        };
        match timeout_at(call.until, reading).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Refusal { why: Why::Unknown, error }),
            Err(_) => Err(Refusal::other(call.deed, Why::Unknown, "the credentials could not be read again in time")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
