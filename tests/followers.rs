//! Others act on what we decide: a HorizontalPodAutoscaler by the external metrics API, KEDA by gRPC; asked by their own clients.

use crate::mill::{Mill, finish, free_port, patiently, request, stderr, stdout};
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Code;
use tonic_prost::ProstCodec;

/// For `localhost` and 127.0.0.1, valid for a hundred years, used for nothing else: the server's, and the client's too.
const CERT: &str = "-----BEGIN CERTIFICATE-----
MIIBmDCCAT6gAwIBAgIUbDCNRRUkubvoVCl4JUwG8JAItNMwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE1NDAyMloYDzIxMjYxMDI5
MTU0MDIyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAThE2yBCK8+g09lUmSgjn6og0pBSNNAoSm9Ktemyl3MRq6XjbXwG6Au
+GFfg9J/XLkFiyUK1iQwxGaDTEU5xCzDo2wwajAdBgNVHQ4EFgQUpzzH4poPOjnD
eJZUrBiNfJ3OZ/8wHwYDVR0jBBgwFoAUpzzH4poPOjnDeJZUrBiNfJ3OZ/8wDAYD
VR0TAQH/BAIwADAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZIzj0E
AwIDSAAwRQIhAJ4Mo7U+2hqh0noAjcM4QXXlqJSrlcoHJkicrQ2M3jziAiBSgrT2
doXDy1I4gzBgbvbaojRjgXUWhyxUuRbwKxF5JA==
-----END CERTIFICATE-----
";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHSYmLR/CoC4bTHDD
0vCjD74dzDWOCtpeF7nx7k90zvWhRANCAAThE2yBCK8+g09lUmSgjn6og0pBSNNA
oSm9Ktemyl3MRq6XjbXwG6Au+GFfg9J/XLkFiyUK1iQwxGaDTEU5xCzD
-----END PRIVATE KEY-----
";

const METRIC: &str =
    "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/tidemill_replicas?labelSelector=scaler%3Dweb";

/// A Tidemill whose decisions are followed: metrics on one port, KEDA on the other.
struct Followed {
    mill: Mill,
    metrics: u16,
    keda: u16,
}

fn start(dir: &Path, tls: bool) -> Followed {
    std::fs::write(dir.join("cert.pem"), CERT).unwrap();
    std::fs::write(dir.join("key.pem"), KEY).unwrap();
    let (metrics, keda) = (free_port(), free_port());
    let tls = if tls { "tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"cert.pem\" }" } else { "" };
    let pipeline = format!(
        r#"
[external_metrics]
address = "127.0.0.1:{metrics}"
{tls}

[external_scaler]
address = "127.0.0.1:{keda}"

[sources.load]
type = "http"

[tables.load]
inputs = ["load"]

[workloads.web]
type = "none"

[scalers.web]
workload = "web"
plugin = "hpa"
settings = {{ target = 5, behavior = "none" }}
every = "300ms"
min = 0
initial = 1
max = 9
signals.rps = "SELECT rps AS value FROM load ORDER BY timestamp DESC LIMIT 1"
"#
    );
    Followed { mill: Mill::start(dir, &pipeline), metrics, keda }
}

impl Followed {
    fn offer(&self, rps: i64) {
        let text = if rps < 0 { "{\"rps\":null}\n".to_owned() } else { format!("{{\"rps\":{rps}}}\n") };
        assert_eq!(self.mill.push("load", &text)["accepted"], 1);
    }
}

#[test]
fn the_external_metrics_api_tells_decisions_and_errors_without_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let followed = start(dir.path(), false);
    let ask = |path: &str| {
        let reply = request(followed.metrics, "GET", path, &[], b"").unwrap();
        (reply.status, reply.json())
    };
    let value = || {
        let (status, told) = ask(METRIC);
        match status {
            200 => told["items"][0]["value"].as_str().unwrap().to_owned(),
            503 => format!("{} {}", told["kind"].as_str().unwrap(), told["message"].as_str().unwrap()),
            _ => panic!("{status} {told}"),
        }
    };
    let without = || value().starts_with("Status scaler `web`: ") && value().contains("`rps`");
    assert!(patiently(without), "{}", value());
    followed.offer(18);
    assert!(patiently(|| value() == "4"), "{}", value());
    let (_, signal) = ask(&METRIC.replace("tidemill_replicas", "tidemill_signal"));
    assert_eq!(
        (&signal["items"][0]["value"], &signal["items"][0]["metricLabels"]["signal"]),
        (&"18".into(), &"rps".into())
    );
    followed.offer(-1);
    assert!(patiently(without), "{}", value());
    followed.offer(0);
    assert!(patiently(|| value() == "0"), "0 was decided from evidence: {}", value());
    assert_eq!(ask("/apis/external.metrics.k8s.io/v1beta1").1["resources"][0]["name"], "tidemill_replicas");
    assert_eq!(request(followed.metrics, "POST", METRIC, &[], b"").unwrap().status, 405);
    assert_eq!(request(followed.metrics, "GET", METRIC, &[("Host", "evil.example.org")], b"").unwrap().status, 403);
    assert_eq!(followed.mill.get(METRIC).status, 404, "not on the listener of everything else");
    followed.mill.stop();
}

/// A client of Kubernetes' API that trusts the server's certificate and shows its own.
fn kubeconfig(dir: &Path, port: u16) -> PathBuf {
    let file = dir.join("kubeconfig");
    let path = |name: &str| dir.join(name).display().to_string();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: tidemill\n\
         clusters: [{{name: tidemill, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{cert}'}}}}]\n\
         users: [{{name: api-server, user: {{client-certificate: '{cert}', client-key: '{key}'}}}}]\n\
         contexts: [{{name: tidemill, context: {{cluster: tidemill, user: api-server, namespace: default}}}}]\n",
        cert = path("cert.pem"),
        key = path("key.pem"),
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn kubectl_and_the_python_client_read_it_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let followed = start(dir.path(), true);
    let config = kubeconfig(dir.path(), followed.metrics);
    followed.offer(18);
    followed.mill.wait_for("SELECT coalesce(max(decided), 0) FROM tidemill.decisions WHERE event = 'decision'", 4);
    assert!(
        request(followed.metrics, "GET", METRIC, &[], b"").is_err(),
        "TLS is spoken, and a certificate is asked for"
    );

    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", &config).env("HOME", dir.path()).current_dir(dir.path());
        finish(&mut command)
    };
    if Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success()) {
        let output = kubectl(&["get", "--raw", METRIC]);
        let list: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        assert_eq!((&list["kind"], &list["items"][0]["value"]), (&"ExternalMetricValueList".into(), &"4".into()));
        let missing = kubectl(&["get", "--raw", &METRIC.replace("web", "wep")]);
        assert!(!missing.status.success() && stderr(&missing).contains("NotFound"), "{}", stderr(&missing));
        let resources = kubectl(&["api-resources", "--api-group=external.metrics.k8s.io", "--no-headers"]);
        assert!(stdout(&resources).contains("tidemill_replicas"), "{}{}", stdout(&resources), stderr(&resources));
    } else {
        println!("left out: there is no kubectl; apt-get install kubernetes-client");
    }

    let script = r#"
import sys
from kubernetes import client, config
config.load_kube_config(sys.argv[1])
api = client.CustomObjectsApi()
def ask(scaler):
    return api.list_namespaced_custom_object("external.metrics.k8s.io", "v1beta1", "default", "tidemill_replicas", label_selector="scaler=" + scaler)
print([(item["metricName"], item["metricLabels"], item["value"]) for item in ask("web")["items"]])
try:
    ask("wep")
except client.exceptions.ApiException as error:
    print(error.status, error.reason)
"#;
    if let Some(told) = python("kubernetes", dir.path(), script, &[config.to_str().unwrap()]) {
        assert_eq!(told, "[('tidemill_replicas', {'scaler': 'web', 'workload': 'web'}, '4')]\n404 Not Found\n");
    }
    followed.mill.stop();
}

/// What a script prints, where there is a python with this module.
fn python(module: &str, dir: &Path, script: &str, arguments: &[&str]) -> Option<String> {
    let python = std::env::var("TIDEMILL_CLIENTS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        println!("left out: `{python}` has no module `{module}`; name one that has in TIDEMILL_CLIENTS_PYTHON");
        return None;
    }
    std::fs::write(dir.join("script.py"), script).unwrap();
    let output = finish(Command::new(&python).arg("script.py").args(arguments).current_dir(dir));
    assert!(output.status.success(), "{}", stderr(&output));
    Some(stdout(&output))
}

// KEDA's messages, written down from its interface once more.
#[derive(Clone, PartialEq, Message)]
struct ObjectRef {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Active {
    #[prost(bool, tag = "1")]
    result: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Specs {
    #[prost(message, repeated, tag = "1")]
    specs: Vec<Spec>,
}

#[derive(Clone, PartialEq, Message)]
struct Spec {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    size: i64,
    #[prost(double, tag = "3")]
    size_float: f64,
}

#[derive(Clone, PartialEq, Message)]
struct MetricsAsked {
    #[prost(message, optional, tag = "1")]
    of: Option<ObjectRef>,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Values {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Spec>,
}

/// One HTTP/2 connection as tonic wants it.
struct Connection(hyper::client::conn::http2::SendRequest<tonic::body::Body>);

impl tower::Service<hyper::Request<tonic::body::Body>> for Connection {
    type Response = hyper::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: hyper::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

type Client = tonic::client::Grpc<Connection>;

async fn connect(port: u16) -> Client {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Client::with_origin(Connection(sender), format!("http://127.0.0.1:{port}").parse().unwrap())
}

fn path(call: &str) -> hyper::http::uri::PathAndQuery {
    format!("/externalscaler.ExternalScaler/{call}").parse().unwrap()
}

async fn ask<Q: Message + Default + 'static, A: Message + Default + 'static>(
    client: &mut Client,
    call: &str,
    asked: Q,
) -> Result<A, tonic::Status> {
    client.ready().await.unwrap();
    let answer = client.unary(tonic::Request::new(asked), path(call), ProstCodec::<Q, A>::default());
    tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap().map(tonic::Response::into_inner)
}

fn object(scaler: &str) -> ObjectRef {
    let metadata = [("scalerAddress", "tidemill:7444"), ("scaler", scaler)];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    ObjectRef { name: "web".to_owned(), namespace: "default".to_owned(), metadata }
}

#[test]
fn keda_is_told_by_grpc_what_was_decided() {
    let dir = tempfile::tempdir().unwrap();
    let followed = start(dir.path(), false);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut client = runtime.block_on(connect(followed.keda));
    let asked = || MetricsAsked { of: Some(object("web")), name: "tidemill-web".to_owned() };
    let mut value = || runtime.block_on(ask::<_, Values>(&mut client, "GetMetrics", asked()));
    assert!(patiently(
        || value().is_err_and(|status| status.code() == Code::Unavailable && status.message().contains("rps"))
    ));
    let mut stream = runtime.block_on(async {
        let mut client = connect(followed.keda).await;
        client.ready().await.unwrap();
        let codec = ProstCodec::<ObjectRef, Active>::default();
        client
            .server_streaming(tonic::Request::new(object("web")), path("StreamIsActive"), codec)
            .await
            .unwrap()
            .into_inner()
    });
    let mut next =
        || runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), stream.message()).await }).unwrap();
    followed.offer(18);
    assert!(next().unwrap().unwrap().result);
    assert!(patiently(|| value().is_ok_and(|told| told.values[0].size == 4)), "{:?}", value());
    assert_eq!(value().unwrap().values[0].size_float, 4.0);
    followed.offer(-1);
    assert!(patiently(|| value().is_err_and(|status| status.code() == Code::Unavailable)), "{:?}", value());
    followed.offer(0);
    assert!(!next().unwrap().unwrap().result, "no replica was decided, from evidence");
    assert!(patiently(|| value().is_ok_and(|told| told.values[0].size == 0)), "{:?}", value());

    let mut client = runtime.block_on(connect(followed.keda));
    let specs: Specs = runtime.block_on(ask(&mut client, "GetMetricSpec", object("web"))).unwrap();
    assert_eq!(specs.specs, [Spec { name: "tidemill-web".to_owned(), size: 1, size_float: 1.0 }]);
    let unknown = runtime.block_on(ask::<_, Active>(&mut client, "IsActive", object("wep"))).unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "there is no scaler `wep`; there are `web`"));

    let script = r#"
import sys, grpc
def text(tag, value):
    value = value if isinstance(value, bytes) else value.encode()
    return bytes([tag << 3 | 2, len(value)]) + value
def object(scaler):
    return text(1, "web") + text(2, "default") + text(3, text(1, "scaler") + text(2, scaler))
channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
def ask(call, message):
    method = channel.unary_unary("/externalscaler.ExternalScaler/" + call, request_serializer=bytes, response_deserializer=bytes)
    try:
        print(call, method(message, timeout=10))
    except grpc.RpcError as error:
        print(call, error.code().name, error.details())
ask("IsActive", object("web"))
ask("IsActive", object("wep"))
ask("GetMetrics", text(1, object("web")) + text(2, "tidemill-web"))
stream = channel.unary_stream("/externalscaler.ExternalScaler/StreamIsActive", request_serializer=bytes, response_deserializer=bytes)
print(next(stream(object("web"), timeout=10)))
"#;
    if let Some(told) = python("grpc", dir.path(), script, &[&followed.keda.to_string()]) {
        // 0 and false are left out of messages: these are the answers that were decided.
        let expected = "IsActive b''\nIsActive NOT_FOUND there is no scaler `wep`; there are `web`\n\
                        GetMetrics b'\\n\\x0e\\n\\x0ctidemill-web'\nb''\n";
        assert_eq!(told, expected);
    }
    followed.mill.stop();
    assert_eq!(next().unwrap_err().code(), Code::Unavailable, "a stream ends with the scaler");
}
