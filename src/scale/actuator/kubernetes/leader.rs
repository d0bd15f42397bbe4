//! keeps the lease: reads it, takes it, renews it, gives it back
//!
//! The rules are in `election.rs`; here they meet the API server. A fifth of the lease's duration passes between two turns.
//!
//! **Always:** what the API server did not confirm is not ours; a request whose answer is lost is found out by the next reading.

use super::client::{Call, Client};
use super::election::{Election, Held, Step};
use super::refusal::{Deed, Refusal, Why};
use crate::clock::Clock;
use hyper::Method;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a lease needs to be kept.
pub struct Terms {
    /// where it is
    pub namespace: String,
    /// its name
    pub name: String,
    /// who we are in it
    pub identity: String,
    /// how long it holds
    pub duration: Duration,
    /// the longest that a request may take
    pub timeout: Duration,
}

/// One who wants to hold a lease.
pub struct Leader {
    client: Arc<Client>,
    terms: Terms,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    election: Election,
    /// the lease as the API server last gave it to us
    lease: Option<Lease>,
    /// why the last turn came to nothing
    trouble: Option<String>,
    /// what was last said in the log
    led: bool,
}

impl Leader {
    /// One who has not looked yet.
    pub fn new(client: Arc<Client>, terms: Terms, clock: Clock) -> Leader {
        let election = Election::new(&terms.identity, terms.duration);
        let state = Mutex::new(State { election, lease: None, trouble: None, led: false });
        Leader { client, terms, clock, state }
    }

    /// Until when we may act; nothing while we may not.
    pub fn until(&self) -> Option<Instant> {
        self.lock().election.until(Instant::now())
    }

    /// Why we may not act; nothing while we may.
    pub fn standby(&self) -> Option<String> {
        let state = self.lock();
        if state.election.until(Instant::now()).is_some() {
            return None;
        }
        let lease = format!("{}/{}", self.terms.namespace, self.terms.name);
        let trouble = state.trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        Some(match state.election.holder() {
            "" => format!("not the leader: nobody holds the lease `{lease}` yet{trouble}"),
            holder if holder == self.terms.identity => {
                format!("not the leader: the lease `{lease}` was not renewed in time{trouble}")
            }
            holder => format!("not the leader: `{holder}` holds the lease `{lease}`{trouble}"),
        })
    }

    /// Keeps the lease until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let work = async {
            loop {
                let refused = self.turn().await.err();
                let overtaken = refused.as_ref().is_some_and(|refusal| refusal.why == Why::Conflict);
                self.note(refused);
                tokio::time::sleep(self.terms.duration / if overtaken { 20 } else { 5 }).await;
            }
        };
        let _ = stop.run_until_cancelled(work).await;
    }

    /// Reads the lease and does what is to be done about it.
    pub async fn turn(&self) -> std::result::Result<(), Refusal> {
        let limit = self.terms.timeout.min(self.terms.duration / 3);
        let read = match self.send(&self.deed("get"), Method::GET, Vec::new(), Instant::now() + limit).await {
            Ok(lease) => Some(lease),
            Err(refusal) if refusal.why == Why::Missing => None,
            Err(refusal) => return Err(refusal),
        };
        let step = {
            let mut state = self.lock();
            state.lease.clone_from(&read);
            state.election.step(read.as_ref().map(held), Instant::now())
        };
        let (deed, method) = match step {
            Step::StandBy => return Ok(()),
            Step::Create => (self.deed("create"), Method::POST),
            Step::Take | Step::Renew => (self.deed("update"), Method::PUT),
        };
        let begun = Instant::now();
        let wanted = self.ours(read.unwrap_or_default(), step);
        let sent = self.send(&deed, method, json(&deed, &wanted)?, begun + limit).await;
        let mut state = self.lock();
        match sent {
            Ok(lease) => {
                // What was lost meanwhile is read again.
                state.election.step(Some(held(&lease)), Instant::now());
                state.election.won(begun);
                state.lease = Some(lease);
                Ok(())
            }
            Err(refusal) => {
                if refusal.why == Why::Conflict {
                    state.election.overtaken();
                }
                Err(refusal)
            }
        }
    }

    /// Gives it back, so that another need not wait. From here on nothing is written any more.
    pub async fn release(&self, until: Instant) {
        let lease = {
            let mut state = self.lock();
            let leads = state.election.until(Instant::now()).is_some();
            state.election.overtaken();
            state.lease.take().filter(|_| leads)
        };
        let Some(mut lease) = lease else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(self.now());
        }
        let deed = self.deed("update");
        let given = match json(&deed, &lease) {
            Ok(body) => self.send(&deed, Method::PUT, body, until).await,
            Err(refusal) => Err(refusal),
        };
        match given {
            Ok(_) => tracing::info!(lease = self.terms.name, "lease given back"),
            Err(refusal) => {
                tracing::warn!(lease = self.terms.name, error = %refusal.error, "lease not given back: it runs out by itself");
            }
        }
    }

    /// Leaves it to run out: nobody else acts before.
    pub fn let_run_out(&self) {
        self.lock().election.overtaken();
    }

    fn note(&self, refused: Option<Refusal>) {
        let mut state = self.lock();
        let leads = state.election.until(Instant::now()).is_some();
        if leads != state.led {
            let (lease, holder) = (&self.terms.name, state.election.holder());
            match leads {
                true => tracing::info!(lease, identity = self.terms.identity, "leads"),
                false => tracing::warn!(lease, holder, "leads no longer"),
            }
            state.led = leads;
        }
        let trouble = refused.map(|refusal| refusal.error.to_string());
        if let Some(error) = trouble.as_ref().filter(|trouble| state.trouble.as_ref() != Some(*trouble)) {
            tracing::warn!(lease = self.terms.name, error, "lease not taken or renewed");
        }
        state.trouble = trouble;
    }

    /// The lease as it should be once it is ours.
    fn ours(&self, mut lease: Lease, step: Step) -> Lease {
        let Terms { namespace, name, identity, duration, .. } = &self.terms;
        let before = lease.spec.take().unwrap_or_default();
        let now = self.now();
        let renewed = step == Step::Renew;
        if step == Step::Create {
            lease.metadata =
                ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.clone()), ..ObjectMeta::default() };
        }
        let transitions = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(identity.clone()),
            lease_duration_seconds: Some(i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)),
            acquire_time: if renewed { before.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if step == Step::Take { transitions.saturating_add(1) } else { transitions }),
            ..before
        });
        lease
    }

    async fn send(
        &self,
        deed: &Deed,
        method: Method,
        body: Vec<u8>,
        until: Instant,
    ) -> std::result::Result<Lease, Refusal> {
        let Terms { namespace, name, .. } = &self.terms;
        let all = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let path = if method == Method::POST { all } else { format!("{all}/{name}") };
        let answer = self.client.send(&Call { deed, method, path, body, until, may: &|| true }).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| Refusal::unanswered(deed, format!("the answer is no Lease: {error}")))
    }

    fn deed(&self, verb: &'static str) -> Deed {
        Deed {
            verb,
            group: "coordination.k8s.io".to_owned(),
            resource: "leases".to_owned(),
            name: self.terms.name.clone(),
            namespace: self.terms.namespace.clone(),
        }
    }

    fn now(&self) -> MicroTime {
        MicroTime(Timestamp::from_nanosecond(i128::from(self.clock.now())).unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease as the rules see it.
fn held(lease: &Lease) -> Held {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
    Held {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or(0)),
    }
}

fn json(deed: &Deed, lease: &Lease) -> std::result::Result<Vec<u8>, Refusal> {
    serde_json::to_vec(lease).map_err(|error| Refusal::other(deed, Why::Other, error))
}
