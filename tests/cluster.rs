//! A Kubernetes API server of the tests: objects with resource versions, scales, leases, tokens, and whatever goes wrong.
//!
//! It speaks what Tidemill, kubectl and the Python client say to a real one: discovery, GET, PUT and merge PATCH of objects and of their
//! scale, POST of leases, `Status` answers with the real reasons. A change that carries another resource version than the stored one is
//! a 409; a PUT that changes nothing makes no new version. Replicas become ready a while after they were asked for.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The scaled object and its lease, where every test has them.
pub const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
pub const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/tidemill-deployment-web";

#[derive(Clone)]
pub struct Cluster {
    world: Arc<Mutex<World>>,
    pub port: u16,
}

/// One request, as hooks and the log see it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub user: String,
    pub method: String,
    pub path: String,
    pub status: u16,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// somebody changes the object a moment before
    Overtaken,
    /// it is answered with this status and `Retry-After`, and not done
    Refused(u16, Option<u64>),
    /// it is done, and answered so much later
    Late(Duration),
    /// it is done so much later, and answered then
    Slow(Duration),
}

/// A change of the number of replicas that was accepted.
#[derive(Clone, Debug)]
pub struct Write {
    pub user: String,
    pub from: i64,
    pub to: i64,
    /// who held the lease then
    pub holder: String,
    /// whether it had been renewed within its duration
    pub fresh: bool,
}

type Hook = Box<dyn FnMut(&Asked) -> Fault + Send>;

pub struct World {
    version: u64,
    objects: BTreeMap<String, Value>,
    renewed: BTreeMap<String, Instant>,
    /// users by token
    pub tokens: BTreeMap<String, String>,
    /// whether who shows no token is somebody
    pub anonymous: bool,
    pub hook: Hook,
    pub log: Vec<Asked>,
    pub writes: Vec<Write>,
    /// how long a replica takes; never if nothing
    pub start: Option<Duration>,
}

impl Cluster {
    /// A cluster whose Deployment `shop/web` has so many replicas, all ready.
    pub fn start(replicas: i64) -> Cluster {
        let mut world = World {
            version: 100,
            objects: BTreeMap::new(),
            renewed: BTreeMap::new(),
            tokens: BTreeMap::new(),
            anonymous: false,
            hook: Box::new(|_| Fault::None),
            log: Vec::new(),
            writes: Vec::new(),
            start: Some(Duration::from_millis(150)),
        };
        world.add(WEB, "apps/v1", "Deployment", replicas);
        let world = Arc::new(Mutex::new(world));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let cluster = Cluster { world, port: listener.local_addr().unwrap().port() };
        let state = cluster.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, axum::Router::new().fallback(answer).with_state(state)).await.unwrap();
            });
        });
        cluster
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// From now on, this goes wrong.
    pub fn fail(&self, hook: impl FnMut(&Asked) -> Fault + Send + 'static) {
        self.lock().hook = Box::new(hook);
    }

    /// A kubeconfig for a user with a token, which lies in a file beside it.
    pub fn kubeconfig(&self, dir: &Path, user: &str) -> PathBuf {
        let token = dir.join(format!("{user}.token"));
        self.token(&token, user, &format!("token-of-{user}"));
        let path = dir.join(format!("{user}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: fake\n\
             clusters: [{{name: fake, cluster: {{server: \"http://127.0.0.1:{}\"}}}}]\n\
             contexts: [{{name: fake, context: {{cluster: fake, user: {user}, namespace: shop}}}}]\n\
             users: [{{name: {user}, user: {{tokenFile: \"{}\"}}}}]\n",
            self.port,
            token.display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Gives a user a token; those it had are accepted no longer.
    pub fn token(&self, file: &Path, user: &str, token: &str) {
        std::fs::write(file, token).unwrap();
        let mut world = self.lock();
        world.tokens.retain(|_, of| of != user);
        world.tokens.insert(token.to_owned(), user.to_owned());
    }

    pub fn replicas(&self) -> i64 {
        self.lock().objects[WEB]["spec"]["replicas"].as_i64().unwrap()
    }

    /// Somebody else sets the number.
    pub fn scale(&self, replicas: i64) {
        self.lock().change(WEB, |object| object["spec"]["replicas"] = replicas.into());
        self.become_ready(WEB);
    }

    /// Who holds the lease; empty if nobody does.
    pub fn holder(&self) -> String {
        self.lock().holder().0
    }

    pub fn add(&self, path: &str, api: &str, kind: &str, replicas: i64) {
        self.lock().add(path, api, kind, replicas);
    }

    /// Replicas that were asked for are ready after a while.
    fn become_ready(&self, path: &str) {
        let Some(start) = self.lock().start else { return };
        let (cluster, path) = (self.clone(), path.to_owned());
        std::thread::spawn(move || {
            std::thread::sleep(start);
            let mut world = cluster.lock();
            let replicas = world.objects[&path]["spec"]["replicas"].clone();
            world.change(&path, |object| object["status"] = json!({"replicas": replicas, "readyReplicas": replicas}));
        });
    }
}

impl World {
    fn add(&mut self, path: &str, api: &str, kind: &str, replicas: i64) {
        let name = path.rsplit('/').next().unwrap();
        let namespace = path.split("/namespaces/").nth(1).unwrap().split('/').next().unwrap();
        let object = json!({
            "apiVersion": api,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": "5e1f", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}},
            "status": {"replicas": replicas, "readyReplicas": replicas},
        });
        self.objects.insert(path.to_owned(), object);
        self.change(path, |_| ());
    }

    fn change(&mut self, path: &str, with: impl FnOnce(&mut Value)) {
        self.version += 1;
        let version = self.version.to_string();
        let object = self.objects.get_mut(path).unwrap();
        with(object);
        object["metadata"]["resourceVersion"] = version.into();
    }

    fn holder(&self) -> (String, bool) {
        let Some(lease) = self.objects.get(LEASE) else { return (String::new(), false) };
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        let seconds = lease["spec"]["leaseDurationSeconds"].as_u64().unwrap_or(0);
        (holder, self.renewed[LEASE].elapsed() < Duration::from_secs(seconds))
    }

    /// The pods of the namespace are these.
    pub fn pods(&mut self, pods: &[Value]) {
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods});
        self.objects.insert("/api/v1/namespaces/shop/pods".to_owned(), list);
    }

    /// Requests that may change something, of this user.
    pub fn changes_of(&self, user: &str) -> Vec<Asked> {
        self.log.iter().filter(|asked| asked.user == user && asked.method != "GET").cloned().collect()
    }
}

async fn answer(State(cluster): State<Cluster>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let Some(user) = user(&cluster.lock(), &parts.headers) else {
        cluster.lock().log.push(asked("", &parts.method, &parts.uri, 401));
        return status(401, "Unauthorized", "Unauthorized");
    };
    let mut asked = asked(&user, &parts.method, &parts.uri, 0);
    let fault = (cluster.lock().hook)(&asked);
    let response = match fault {
        Fault::Refused(code, pause) => {
            let mut response = status(code, "Failed", "as the test wants it");
            if let Some(pause) = pause {
                // What a real one says when it has too many requests in flight.
                response =
                    (StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.\n").into_response();
                response.headers_mut().insert("Retry-After", pause.into());
            }
            response
        }
        Fault::Slow(by) => {
            tokio::time::sleep(by).await;
            done(&cluster, &user, &parts.method, &parts.uri, &body)
        }
        Fault::Late(by) => {
            let response = done(&cluster, &user, &parts.method, &parts.uri, &body);
            tokio::time::sleep(by).await;
            response
        }
        Fault::Overtaken => {
            let path = parts.uri.path().trim_end_matches("/scale").to_owned();
            cluster.lock().change(&path, |object| object["metadata"]["labels"] = json!({"somebody": "was here"}));
            done(&cluster, &user, &parts.method, &parts.uri, &body)
        }
        Fault::None => done(&cluster, &user, &parts.method, &parts.uri, &body),
    };
    asked.status = response.status().as_u16();
    cluster.lock().log.push(asked);
    response
}

fn asked(user: &str, method: &Method, uri: &Uri, status: u16) -> Asked {
    Asked { at: Instant::now(), user: user.to_owned(), method: method.to_string(), path: uri.path().to_owned(), status }
}

fn user(world: &World, headers: &HeaderMap) -> Option<String> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token {
        Some(token) => world.tokens.get(token).cloned(),
        None => world.anonymous.then(|| "anonymous".to_owned()),
    }
}

/// What a real server does with it.
fn done(cluster: &Cluster, user: &str, method: &Method, uri: &Uri, body: &Bytes) -> Response {
    let path = uri.path();
    if method == Method::GET && !path.contains("/namespaces/") {
        return match discovery(path) {
            Some(answer) => axum::Json(answer).into_response(),
            None => status(404, "NotFound", "the server could not find the requested resource"),
        };
    }
    let sent: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let (object, subresource) = match path.strip_suffix("/scale") {
        Some(object) => (object, true),
        None => (path, false),
    };
    let mut world = cluster.lock();
    if user == "reader" && method != Method::GET {
        let told =
            "deployments.apps \"web\" is forbidden: User \"reader\" cannot update resource \"deployments/scale\"";
        return status(403, "Forbidden", told);
    }
    if method == Method::POST && path.ends_with("/leases") {
        let path = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap());
        if world.objects.contains_key(&path) {
            return status(409, "AlreadyExists", "leases.coordination.k8s.io already exists");
        }
        world.objects.insert(path.clone(), sent);
        world.change(&path, |_| ());
        world.renewed.insert(path.clone(), Instant::now());
        return (StatusCode::CREATED, axum::Json(world.objects[&path].clone())).into_response();
    }
    let Some(stored) = world.objects.get(object).cloned() else {
        return status(404, "NotFound", &format!("{path} not found"));
    };
    if method == Method::GET {
        return axum::Json(if subresource { scale_of(&stored) } else { stored }).into_response();
    }
    let version = &sent["metadata"]["resourceVersion"];
    if version
        .as_str()
        .is_some_and(|version| !version.is_empty() && Some(version) != stored["metadata"]["resourceVersion"].as_str())
    {
        let told = "the object has been modified; please apply your changes to the latest version and try again";
        return status(409, "Conflict", &format!("Operation cannot be fulfilled on \"{object}\": {told}"));
    }
    if method != Method::PUT && method != Method::PATCH {
        return status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    }
    if !subresource {
        let lease = path.contains("/leases/");
        world.change(object, |stored| match method == Method::PUT {
            true => *stored = sent,
            false => merge(stored, &sent),
        });
        if lease {
            world.renewed.insert(object.to_owned(), Instant::now());
        }
        return axum::Json(world.objects[object].clone()).into_response();
    }
    let Some(to) = sent["spec"].get("replicas").map_or(Some(0), Value::as_i64).filter(|to| *to >= 0) else {
        return status(422, "Invalid", "spec.replicas: Invalid value: should be greater than or equal to 0");
    };
    let from = stored["spec"]["replicas"].as_i64().unwrap();
    if from != to {
        let (holder, fresh) = world.holder();
        world.writes.push(Write { user: user.to_owned(), from, to, holder, fresh });
        world.change(object, |stored| stored["spec"]["replicas"] = to.into());
    }
    let answer = scale_of(&world.objects[object]);
    drop(world);
    if from != to {
        cluster.become_ready(object);
    }
    axum::Json(answer).into_response()
}

fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::Null => _ = into.as_object_mut().map(|object| object.remove(name)),
            value => merge(&mut into[name.as_str()], value),
        }),
        other => *into = other.clone(),
    }
}

/// Numbers that are 0 are left out, as they are by a real one.
fn scale_of(object: &Value) -> Value {
    let mut metadata = object["metadata"].clone();
    metadata
        .as_object_mut()
        .unwrap()
        .retain(|name, _| ["name", "namespace", "uid", "resourceVersion"].contains(&name.as_str()));
    let replicas = &object["spec"]["replicas"];
    let spec = if *replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    let selector = format!("app={}", object["metadata"]["name"].as_str().unwrap());
    let running = object["status"]["replicas"].as_i64().unwrap_or(0);
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec,
           "status": {"replicas": running, "selector": selector}})
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": message, "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), axum::Json(status)).into_response()
}

/// What there is: enough for kubectl to find a Deployment, and for Tidemill to find a kind that it does not know.
fn discovery(path: &str) -> Option<Value> {
    let list = |group: &str, resources: &[(&str, &str)]| {
        let resources: Vec<Value> = resources
            .iter()
            .map(|(name, kind)| {
                let verbs = ["get", "patch", "update", "create", "list"];
                let mut resource =
                    json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": verbs});
                if *kind == "Scale" {
                    (resource["group"], resource["version"]) = ("autoscaling".into(), "v1".into());
                }
                resource
            })
            .collect();
        Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}))
    };
    let group = |name: &str, version: &str| {
        let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
        json!({"name": name, "versions": [version.clone()], "preferredVersion": version})
    };
    match path {
        "/version" => Some(json!({"major": "1", "minor": "32", "gitVersion": "v1.32.0"})),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
            group("apps", "v1"), group("coordination.k8s.io", "v1"), group("argoproj.io", "v1alpha1"),
        ]})),
        "/api/v1" => list("v1", &[]),
        "/apis/apps/v1" => list("apps/v1", &[("deployments", "Deployment"), ("deployments/scale", "Scale")]),
        "/apis/coordination.k8s.io/v1" => list("coordination.k8s.io/v1", &[("leases", "Lease")]),
        "/apis/argoproj.io/v1alpha1" => list(
            "argoproj.io/v1alpha1",
            &[("rollouts", "Rollout"), ("rollouts/scale", "Scale"), ("analysisruns", "AnalysisRun")],
        ),
        _ => None,
    }
}
