//! Workloads in a Kubernetes cluster: an API server of the tests that conflicts, pauses, forgets tokens and hangs; never two writers.

use crate::cluster::{Cluster, Fault, LEASE, WEB};
use crate::mill::{Dice, Mill, finish, patiently, stderr, stdout};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const LAST: &str = "SELECT decided, replicas, reason, clamps FROM tidemill.decisions WHERE event = 'decision' ORDER BY timestamp DESC LIMIT 1";

fn pipeline(cluster: &Cluster, dir: &Path, user: &str, more: &str) -> String {
    format!(
        r#"
[sources.load]
type = "http"

[tables.load]
inputs = ["load"]

[scalers.web]
workload = "web"
plugin = "hpa"
settings = {{ target = 5, behavior = "none" }}
every = "250ms"
max = 9
signals.rps = "SELECT rps AS value FROM load ORDER BY timestamp DESC LIMIT 1"

[workloads.web]
type = "kubernetes"
kubeconfig = "{}"
name = "web"
identity = "{user}"
lease_duration = "3s"
look_every = "200ms"
timeout = "700ms"
ready_timeout = "3s"
{more}
"#,
        cluster.kubeconfig(dir, user).display()
    )
}

fn start(cluster: &Cluster, dir: &Path, user: &str, more: &str) -> Mill {
    let own = dir.join(user);
    std::fs::create_dir_all(&own).unwrap();
    Mill::start(&own, &pipeline(cluster, dir, user, more))
}

/// Load for so many replicas.
fn offer(mill: &Mill, replicas: u32) {
    assert_eq!(mill.push("load", &format!("{{\"rps\":{}}}\n", replicas * 5 - 1))["accepted"], 1);
}

fn reaches(cluster: &Cluster, replicas: i64) {
    assert!(patiently(|| cluster.replicas() == replicas), "{} replicas, not {replicas}", cluster.replicas());
}

/// How many outcomes say this.
fn outcomes(mill: &Mill, like: &str) -> i64 {
    mill.number(&format!("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND outcome LIKE '%{like}%'"))
}

/// The last decision says this.
fn says(mill: &Mill, part: &str) {
    let mut last = Value::Null;
    let said = patiently(|| {
        last = mill.rows(LAST).first().cloned().unwrap_or_default();
        last["reason"].as_str().unwrap_or_default().contains(part)
    });
    assert!(said, "{part}: {last}");
}

/// Each decision to change something has an outcome, but for the very last, which may be under way, and one that a kill -9 cut off.
fn no_decision_is_lost(mill: &Mill) {
    let lost = "SELECT tick, body FROM tidemill.decisions d WHERE event = 'decision' AND decided <> replicas AND NOT EXISTS \
                (SELECT 1 FROM tidemill.decisions o WHERE o.event = 'outcome' AND o.tick = d.tick)";
    let lives = mill.rows("SELECT tick FROM tidemill.decisions WHERE event = 'found' AND body LIKE 'Started: %'").len();
    let mut left = Vec::new();
    let settled = patiently(|| {
        left = mill.rows(lost);
        left.len() <= lives
    });
    assert!(settled, "without an outcome: {left:?}");
}

/// Whoever changed the number held the lease then, and had renewed it in time.
fn only_the_leader_wrote(cluster: &Cluster) {
    let writes = cluster.lock().writes.clone();
    for write in &writes {
        assert!(write.user == write.holder && write.fresh && write.from != write.to, "{write:?}");
    }
}

#[test]
fn a_deployment_follows_the_load_and_what_others_do_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(2);
    let mill = start(&cluster, dir.path(), "a", "");
    mill.wait_for(
        "SELECT count(*) FROM tidemill.decisions WHERE event = 'found' AND body LIKE '%2 replicas found%'",
        1,
    );
    offer(&mill, 4);
    reaches(&cluster, 4);
    assert!(patiently(|| outcomes(&mill, "asked for 4 instead of 2 in %; 4 ready after") == 1));
    cluster.scale(7);
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'found' AND body LIKE 'Found 7 replicas, 4 decided last%'", 1);
    reaches(&cluster, 4);
    // Replicas that never become ready are told, and counted as such.
    cluster.lock().start = None;
    offer(&mill, 6);
    reaches(&cluster, 6);
    assert!(patiently(|| outcomes(&mill, "4 of 6 ready after 3s") == 1));
    assert_eq!(mill.rows(&LAST.replace("decided,", "decided, ready,"))[0]["ready"], 4);
    no_decision_is_lost(&mill);
    let replay = finish(crate::mill::tidemill(&["scale", "replay", "web", "--url"]).arg(mill.url()));
    assert!(stdout(&replay).ends_with("decided again, 0 differences\n"), "{}{}", stdout(&replay), stderr(&replay));
    mill.stop();
    assert_eq!((cluster.replicas(), cluster.holder()), (6, String::new()), "left as it is, and the lease given back");
    only_the_leader_wrote(&cluster);
}

#[test]
fn pods_that_start_and_end_are_counted_as_an_hpa_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(3);
    let pod = |name: &str, phase: &str, ready: &str| {
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}, "status": {
            "phase": phase, "startTime": "2026-01-01T00:00:00Z", "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:09Z"}]}})
    };
    let mut leaving = pod("web-d", "Running", "True");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    let pods =
        [pod("web-a", "Running", "True"), pod("web-b", "Running", "True"), pod("web-c", "Pending", "False"), leaving];
    cluster.lock().pods(&pods);
    let text = pipeline(&cluster, dir.path(), "a", "pods = true\n")
        .replace("target = 5", "type = \"Utilization\", target = 50")
        .replace(
            "SELECT rps AS value FROM load ORDER BY timestamp DESC LIMIT 1",
            "SELECT pod AS replica, cpu AS value FROM load",
        );
    let mill = Mill::start(dir.path(), &text);
    // On average of the two that serve twice the target; with nothing for the one that starts, 1.33. The one that ends is none.
    let load = [("web-a", 100), ("web-b", 100), ("web-c", 400), ("web-d", 400)];
    let rows: String = load.iter().map(|(pod, cpu)| format!("{{\"pod\":\"{pod}\",\"cpu\":{cpu}}}\n")).collect();
    assert_eq!(mill.push("load", &rows)["accepted"], 4);
    reaches(&cluster, 4);
    let decided = "SELECT reason FROM tidemill.decisions WHERE decided = 4 AND replicas = 3";
    let reason = mill.rows(decided)[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("rps 100.0 on average of 2 replicas / 50.0 = ratio 2.0"), "{reason}");
    assert!(reason.contains("with 0 missing and 1 not ready, ratio 1.33 → 4 replicas"), "{reason}");
    let told = mill.rows("SELECT name, phase FROM tidemill.replicas ORDER BY replica");
    let expected = [("web-a", "ready"), ("web-b", "ready"), ("web-c", "waiting"), ("web-d", "stopping")];
    assert_eq!(told, expected.map(|(name, phase)| json!({"name": name, "phase": phase})));
    // Who may not list them goes on without.
    cluster.fail(|asked| match asked.path.ends_with("/pods") {
        true => Fault::Refused(403, None),
        false => Fault::None,
    });
    assert!(patiently(|| mill.number("SELECT count(*) FROM tidemill.replicas") == 0));
    assert!(mill.said().contains("its pods are not told apart"), "{}", mill.said());
    mill.stop();
}

#[test]
fn a_conflict_is_read_again_told_and_decided_again() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    let mut left = 2;
    cluster.fail(move |asked| match asked.method == "PUT" && asked.path.ends_with("/scale") && left > 0 {
        true => {
            left -= 1;
            Fault::Overtaken
        }
        false => Fault::None,
    });
    let mill = start(&cluster, dir.path(), "a", "");
    offer(&mill, 3);
    reaches(&cluster, 3);
    assert!(patiently(|| outcomes(&mill, "conflict: %409%Read again: 1 replica asked for now; decided again") == 2));
    assert!(patiently(|| outcomes(&mill, "asked for 3 instead of 1") == 1));
    no_decision_is_lost(&mill);
    let tries = cluster.lock().changes_of("a").iter().filter(|asked| asked.path.ends_with("/scale")).count();
    assert_eq!((tries, cluster.lock().writes.len()), (3, 1));
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    let mill = start(&cluster, dir.path(), "a", "lease = \"other\"\n");
    assert!(patiently(|| cluster.lock().changes_of("a").iter().any(|asked| asked.path.ends_with("/leases"))));
    let mut left = 1;
    cluster.fail(move |asked| match asked.method == "PUT" && asked.path.ends_with("/scale") && left > 0 {
        true => {
            left = 0;
            Fault::Refused(429, Some(1))
        }
        false => Fault::None,
    });
    offer(&mill, 3);
    reaches(&cluster, 3);
    let log = cluster.lock().log.clone();
    let refused = log.iter().find(|asked| asked.status == 429).unwrap().at;
    let early: Vec<_> =
        log.iter().filter(|asked| asked.at > refused && asked.at < refused + Duration::from_millis(950)).collect();
    // What was on its way already may still arrive.
    assert!(early.len() <= 2, "{early:?}");
    assert!(
        patiently(|| outcomes(&mill, "busy and ask%to wait") >= 1),
        "{:?}",
        mill.rows("SELECT body FROM tidemill.decisions")
    );
    no_decision_is_lost(&mill);
}

#[test]
fn an_expired_token_is_read_again_and_one_that_stays_expired_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    let mill = start(&cluster, dir.path(), "a", "");
    offer(&mill, 2);
    reaches(&cluster, 2);
    let file = dir.path().join("a.token");
    cluster.token(&file, "a", "second");
    offer(&mill, 3);
    reaches(&cluster, 3);
    cluster.lock().tokens.clear();
    says(&mill, "does not accept the credentials, which were read again");
    offer(&mill, 5);
    std::thread::sleep(Duration::from_millis(600));
    cluster.token(&file, "a", "third");
    reaches(&cluster, 5);
    no_decision_is_lost(&mill);
    only_the_leader_wrote(&cluster);
}

#[test]
fn who_loses_the_lease_in_the_middle_writes_no_more_and_another_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    let a = start(&cluster, dir.path(), "a", "");
    let b = start(&cluster, dir.path(), "b", "");
    says_standby(&b, "Not the leader: `a` holds the lease `shop/tidemill-deployment-web`.");
    offer(&a, 2);
    reaches(&cluster, 2);
    // From here on `a` cannot renew; a write of its own is held up past the lease's deadline.
    cluster.fail(|asked| match (asked.user.as_str(), asked.path.contains("/leases"), asked.method.as_str()) {
        ("a", true, _) => Fault::Refused(503, None),
        ("a", false, "PUT") => Fault::Slow(Duration::from_millis(1500)),
        _ => Fault::None,
    });
    let cut = Instant::now();
    offer(&a, 8);
    offer(&b, 4);
    reaches(&cluster, 4);
    assert_eq!(cluster.holder(), "b");
    says_standby(&a, "Not the leader: ");
    let late = cluster
        .lock()
        .changes_of("a")
        .iter()
        .filter(|asked| asked.path == format!("{WEB}/scale"))
        .map(|asked| asked.at)
        .max();
    // Two thirds of three seconds after the last renewal, which was before the cut.
    assert!(late.is_none_or(|late| late < cut + Duration::from_millis(2100)), "{:?}", late.map(|late| late - cut));
    cluster.fail(|_| Fault::None);
    says_standby(&a, "Not the leader: `b` holds the lease");
    no_decision_is_lost(&a);
    no_decision_is_lost(&b);
    only_the_leader_wrote(&cluster);
    // Given back, it is taken at once.
    b.stop();
    assert!(patiently(|| cluster.holder() == "a"));
    reaches(&cluster, 8);
    only_the_leader_wrote(&cluster);
}

/// The last decision changes nothing, for this reason.
fn says_standby(mill: &Mill, reason: &str) {
    // A proposal is needed for a tick to have one; without load it is held anyway.
    says(mill, reason);
    let last = &mill.rows(LAST)[0];
    assert_eq!(last["decided"], last["replicas"], "{last}");
}

#[test]
fn two_controllers_under_random_faults_are_never_two_writers() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    let mut mills = vec![start(&cluster, dir.path(), "a", ""), start(&cluster, dir.path(), "b", "")];
    let (mut dice, mut moves) = (Dice::new(), Dice::new());
    // Faults come in spells, so that a lease is lost now and then.
    let (mut spell_of, mut spell_until) = ("a", Instant::now());
    cluster.fail(move |asked| {
        if Instant::now() > spell_until {
            (spell_of, spell_until) =
                (["a", "b"][dice.below(2) as usize], Instant::now() + Duration::from_millis(500 + dice.below(4000)));
        }
        if asked.user != spell_of {
            return Fault::None;
        }
        match dice.below(8) {
            0 if asked.path.starts_with(WEB) => Fault::Overtaken,
            1 | 2 => Fault::Refused(500, None),
            3 => Fault::Refused(429, Some(1)),
            4 => Fault::Late(Duration::from_millis(dice.below(1500))),
            5 | 6 => Fault::Slow(Duration::from_millis(dice.below(1500))),
            _ => Fault::None,
        }
    });
    let wrote = |user: &str| cluster.lock().writes.iter().any(|write| write.user == user);
    let mut shake = |mills: &[Mill], until: &dyn Fn() -> bool| {
        assert!(patiently(|| {
            mills.iter().for_each(|mill| offer(mill, 1 + u32::try_from(moves.below(8)).unwrap()));
            std::thread::sleep(Duration::from_millis(350));
            until()
        }));
    };
    let for_a_while = |seconds| {
        let end = Instant::now() + Duration::from_secs(seconds);
        move || Instant::now() > end
    };
    shake(&mills, &for_a_while(6));
    shake(&mills, &|| wrote(&cluster.holder()));
    // Who leads and has written is killed; the other has to take over before it is back.
    let leader = usize::from(cluster.holder() == "b");
    let (user, other) = [("a", "b"), ("b", "a")][leader];
    mills.remove(leader).kill();
    shake(&mills, &|| cluster.holder() == other && wrote(other));
    mills.push(start(&cluster, dir.path(), user, ""));
    shake(&mills, &for_a_while(10));
    cluster.fail(|_| Fault::None);
    for mill in &mills {
        offer(mill, 6);
    }
    reaches(&cluster, 6);
    only_the_leader_wrote(&cluster);
    mills.iter().for_each(no_decision_is_lost);
}

#[test]
fn a_hanging_server_stops_neither_ticks_nor_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    let mill = start(&cluster, dir.path(), "a", "");
    offer(&mill, 2);
    reaches(&cluster, 2);
    cluster.fail(|_| Fault::Slow(Duration::from_secs(3600)));
    offer(&mill, 4);
    says(&mill, "did not answer in time");
    let ticks = || mill.number("SELECT count(*) FROM tidemill.decisions WHERE event = 'decision'");
    let before = ticks();
    assert!(patiently(|| ticks() > before + 5), "it ticks");
    no_decision_is_lost(&mill);
    cluster.fail(|_| Fault::None);
    reaches(&cluster, 4);
    cluster.fail(|_| Fault::Slow(Duration::from_secs(3600)));
    // Within ten seconds, or this fails.
    mill.stop();
    only_the_leader_wrote(&cluster);

    // One that starts while the server hangs knows nothing, so it decides nothing.
    let writes = cluster.lock().writes.len();
    let mill = start(&cluster, dir.path(), "b", "");
    mill.wait_for("SELECT CAST(count(*) > 2 AS BIGINT) FROM tidemill.decisions WHERE event = 'waiting' AND body LIKE 'Not started yet: %'", 1);
    assert_eq!(cluster.lock().writes.len(), writes);
    cluster.fail(|_| Fault::None);
    mill.wait_for(
        "SELECT count(*) FROM tidemill.decisions WHERE event = 'found' AND body LIKE 'Started: 4 replicas found%'",
        1,
    );
}

#[test]
fn any_kind_with_a_scale_and_what_is_forbidden_or_missing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    cluster.add("/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web", "argoproj.io/v1alpha1", "Rollout", 3);
    let rollout = "kind = \"Rollout\"\napi_version = \"argoproj.io/v1alpha1\"\n";
    let mill = start(&cluster, dir.path(), "a", rollout);
    offer(&mill, 5);
    assert!(patiently(|| outcomes(&mill, "asked for 5 instead of 3%; 5 ready") == 1));
    mill.stop();
    for (user, more, told) in [
        (
            "reader",
            "",
            "Role in namespace `shop` with apiGroups: [\"coordination.k8s.io\"], resources: [\"leases\"], verbs: [\"create\"]",
        ),
        ("c", "namespace = \"elsewhere\"\n", "it is not there; look at its name, namespace and kind"),
        (
            "d",
            "kind = \"AnalysisRun\"\napi_version = \"argoproj.io/v1alpha1\"\n",
            "`AnalysisRun` has no scale subresource",
        ),
        ("e", "kind = \"Rolout\"\napi_version = \"argoproj.io/v1alpha1\"\n", "there is no kind `Rolout`"),
    ] {
        let mill = start(&cluster, dir.path(), user, more);
        let told = told.replace('\'', "''");
        let any = format!("SELECT CAST(count(*) > 0 AS BIGINT) FROM tidemill.decisions WHERE body LIKE '%{told}%'");
        mill.wait_for(&any, 1);
    }
    let text = pipeline(&cluster, dir.path(), "f", "").replace("f.kubeconfig", "none.kubeconfig");
    std::fs::write(dir.path().join("pipeline.toml"), text).unwrap();
    let ended = crate::mill::run(dir.path(), &["run", "pipeline.toml", "--listen", "127.0.0.1:0"]);
    assert!(!ended.status.success() && stderr(&ended).contains("cannot use the kubeconfig"), "{}", stderr(&ended));
}

#[test]
fn an_exec_plugin_is_asked_again_once_its_token_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    let text = pipeline(&cluster, dir.path(), "a", "");
    let token = dir.path().join("a.token");
    let credential =
        r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}"#;
    let script = format!("printf '{credential}' \"$(cat '{}')\"", token.display());
    let exec = serde_json::json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
                                  "interactiveMode": "Never"});
    let config = dir.path().join("a.kubeconfig");
    let written = std::fs::read_to_string(&config).unwrap();
    let (before, _) = written.split_once("users:").unwrap();
    std::fs::write(&config, format!("{before}users: [{{name: a, user: {{exec: {exec}}}}}]\n")).unwrap();
    let mill = Mill::start(dir.path(), &text);
    offer(&mill, 2);
    reaches(&cluster, 2);
    cluster.token(&token, "a", "second");
    offer(&mill, 3);
    reaches(&cluster, 3);
    only_the_leader_wrote(&cluster);
}

/// A proxy that speaks TLS to us, as every real cluster does, and asks for a client's certificate, or not.
const TLS: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
context.load_verify_locations("ca.pem")
context.verify_mode = ssl.CERT_REQUIRED if sys.argv[3] == "asks" else ssl.CERT_NONE
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    other.close()
def serve(raw):
    try:
        client = context.wrap_socket(raw, server_side=True)
    except (ssl.SSLError, OSError):
        return
    server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// Makes an authority, a server's and a client's certificate.
const CERTIFICATES: &str = "set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=test-ca -days 2
for name in server client; do
  openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj /CN=$name
  printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > $name.ext
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
done";

/// Certificates in a folder, and a proxy with them before the API server; nothing where it cannot be had.
fn encrypted(cluster: &Cluster, dir: &Path, asks: &str) -> Option<(Child, u16)> {
    let made = Command::new("sh").args(["-c", CERTIFICATES]).current_dir(dir).output();
    if !made.as_ref().is_ok_and(|made| made.status.success()) {
        eprintln!("left out: openssl makes no certificates: {made:?}");
        return None;
    }
    let port = crate::mill::free_port();
    std::fs::write(dir.join("tls.py"), TLS).unwrap();
    let arguments = [&port.to_string(), &cluster.port.to_string(), asks];
    let Ok(proxy) = Command::new("python3").arg("tls.py").args(arguments).current_dir(dir).spawn() else {
        eprintln!("left out: there is no python3");
        return None;
    };
    assert!(patiently(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()));
    Some((proxy, port))
}

/// In a mount namespace of its own, where the folder lies where the kubelet puts a pod's service account.
const POD: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io && \
                   ln -s \"$0\" /run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";

#[test]
fn a_pod_signs_in_with_its_service_account() {
    let dir = tempfile::tempdir().unwrap();
    let account = dir.path().join("serviceaccount");
    std::fs::create_dir(&account).unwrap();
    let in_pod = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", POD]).arg(&account).args(command);
        unshare
    };
    let permitted = in_pod(&["true"]).output();
    if !permitted.as_ref().is_ok_and(|done| done.status.success()) {
        eprintln!("left out: a mount namespace is not permitted: {permitted:?}");
        return;
    }
    let cluster = Cluster::start(1);
    let Some((mut proxy, port)) = encrypted(&cluster, dir.path(), "does not ask") else { return };
    std::fs::copy(dir.path().join("ca.pem"), account.join("ca.crt")).unwrap();
    std::fs::write(account.join("namespace"), "shop").unwrap();
    let token = account.join("token");

    let text = pipeline(&cluster, dir.path(), "pod", "");
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("kubeconfig")).collect();
    cluster.token(&token, "pod", "first");
    std::fs::write(dir.path().join("pipeline.toml"), text.join("\n")).unwrap();
    let program = env!("CARGO_BIN_EXE_tidemill");
    let mut command = in_pod(&[program, "run", "pipeline.toml", "--listen", "127.0.0.1:0"]);
    command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", port.to_string());
    command.env("HOME", dir.path()).env_remove("KUBECONFIG").env_remove("TIDEMILL_LOG").env_remove("TIDEMILL_TOKEN");
    let mill = Mill::spawn(dir.path(), &mut command);
    offer(&mill, 3);
    reaches(&cluster, 3);
    // The kubelet writes a new one before the old one expires.
    cluster.token(&token, "pod", "second");
    offer(&mill, 4);
    reaches(&cluster, 4);
    only_the_leader_wrote(&cluster);
    mill.stop();
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

#[test]
fn a_client_certificate_opens_a_server_that_asks_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(1);
    cluster.lock().anonymous = true;
    let Some((mut proxy, port)) = encrypted(&cluster, dir.path(), "asks") else { return };
    let text = pipeline(&cluster, dir.path(), "anonymous", "");
    let config = |client: &str| {
        let file = |name: &str| dir.path().join(name).display().to_string();
        let text = format!(
            "current-context: tls\n\
             clusters: [{{name: tls, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: \"{}\"}}}}]\n\
             contexts: [{{name: tls, context: {{cluster: tls, user: client, namespace: shop}}}}]\n\
             users: [{{name: client, user: {{{client}}}}}]\n",
            file("ca.pem")
        );
        std::fs::write(dir.path().join("anonymous.kubeconfig"), text).unwrap();
    };
    config("");
    let mill = Mill::start(dir.path(), &text);
    let refused = "SELECT CAST(count(*) > 0 AS BIGINT) FROM tidemill.decisions WHERE body LIKE 'Not started yet: %cannot be reached: %'";
    mill.wait_for(refused, 1);
    mill.stop();
    let file = |name: &str| dir.path().join(name).display().to_string();
    config(&format!("client-certificate: \"{}\", client-key: \"{}\"", file("client.pem"), file("client.key")));
    let mill = Mill::start(dir.path(), &text);
    offer(&mill, 3);
    reaches(&cluster, 3);
    only_the_leader_wrote(&cluster);
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

/// The same API server through kubectl: what we rely on is what it does for others too.
#[test]
fn kubectl_finds_an_api_server() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(2);
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        eprintln!("left out: there is no kubectl; Debian has it as kubernetes-client");
        return;
    }
    // It shows no token where nothing is encrypted.
    cluster.lock().anonymous = true;
    let config = cluster.kubeconfig(dir.path(), "kubectl");
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new("kubectl");
        let ended = finish(command.args(arguments).env("KUBECONFIG", &config).env("HOME", dir.path()));
        (ended.status.success(), stdout(&ended) + &stderr(&ended))
    };
    let (ok, said) = kubectl(&["scale", "deployment/web", "--replicas=5"]);
    assert!(ok && said.contains("deployment.apps/web scaled"), "{said}");
    assert_eq!(cluster.replicas(), 5);
    let (ok, said) = kubectl(&["scale", "deployment/web", "--replicas=6", "--resource-version=1"]);
    assert!(!ok && cluster.replicas() == 5, "{said}");
    let (ok, said) = kubectl(&["scale", "deployment/web", "--replicas=3", "--current-replicas=5"]);
    assert!(ok && cluster.replicas() == 3, "{said}");
    let mut left = 1;
    cluster.fail(move |asked| match asked.method == "PUT" && left > 0 {
        true => {
            left -= 1;
            Fault::Overtaken
        }
        false => Fault::None,
    });
    let (_, said) = kubectl(&["scale", "deployment/web", "--replicas=4", "--current-replicas=3"]);
    let log = cluster.lock().log.clone();
    assert!(log.iter().any(|asked| asked.status == 409), "kubectl sends a resource version and is refused: {said}");
    assert!(patiently(|| kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"]).1
        == cluster.replicas().to_string()));
    let (ok, said) = kubectl(&["get", "deployment", "nothing", "-o", "name"]);
    assert!(!ok && said.contains("NotFound"), "{said}");

    let mill = start(&cluster, dir.path(), "a", "");
    offer(&mill, 7);
    reaches(&cluster, 7);
    let (ok, said) = kubectl(&[
        "get",
        "lease",
        "tidemill-deployment-web",
        "-o",
        "jsonpath={.spec.holderIdentity} {.spec.leaseDurationSeconds}",
    ]);
    assert!(ok && said == "a 3", "{said}");
    kubectl(&["scale", "deployment/web", "--replicas=1"]);
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'found' AND body LIKE 'Found 1 replica,%'", 1);
    reaches(&cluster, 7);
}

/// And through the Python client, which checks what it gets against the API's types.
#[test]
fn the_python_client_finds_an_api_server() {
    let Some(python) = std::env::var_os("TIDEMILL_CLIENTS_PYTHON") else {
        eprintln!("left out: TIDEMILL_CLIENTS_PYTHON names no python with `kubernetes`");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(2);
    cluster.lock().tokens.insert("snake".to_owned(), "python".to_owned());
    let script = r#"
import sys
from kubernetes import client
config = client.Configuration(host=sys.argv[1])
config.api_key = {"authorization": "Bearer snake"}
api = client.ApiClient(config)
apps, leases = client.AppsV1Api(api), client.CoordinationV1Api(api)
scale = apps.read_namespaced_deployment_scale("web", "shop")
assert (scale.spec.replicas, scale.status.replicas) == (2, 2), scale
stale = scale.metadata.resource_version
scale.spec.replicas = 5
scale = apps.replace_namespaced_deployment_scale("web", "shop", scale)
assert scale.spec.replicas == 5 and scale.metadata.resource_version != stale, scale
scale.metadata.resource_version = stale
def refused(code, call):
    try:
        call()
    except client.ApiException as error:
        assert error.status == code, error
        return error
    raise SystemExit(f"not refused with {code}")
error = refused(409, lambda: apps.replace_namespaced_deployment_scale("web", "shop", scale))
assert "the object has been modified" in error.body and error.reason, error
assert apps.patch_namespaced_deployment_scale("web", "shop", {"spec": {"replicas": 3}}).spec.replicas == 3
refused(404, lambda: apps.read_namespaced_deployment_scale("none", "shop"))
refused(422, lambda: apps.patch_namespaced_deployment_scale("web", "shop", {"spec": {"replicas": -1}}))
spec = client.V1LeaseSpec(holder_identity="snake", lease_duration_seconds=3)
lease = client.V1Lease(metadata=client.V1ObjectMeta(name="tidemill-deployment-web", namespace="shop"), spec=spec)
lease = leases.create_namespaced_lease("shop", lease)
refused(409, lambda: leases.create_namespaced_lease("shop", lease))
first = lease.metadata.resource_version
lease = leases.replace_namespaced_lease("tidemill-deployment-web", "shop", lease)
lease.metadata.resource_version = first
refused(409, lambda: leases.replace_namespaced_lease("tidemill-deployment-web", "shop", lease))
config.api_key = {"authorization": "Bearer stolen"}
refused(401, lambda: apps.read_namespaced_deployment_scale("web", "shop"))
"#;
    let ended = finish(Command::new(&python).args(["-c", script, &format!("http://127.0.0.1:{}", cluster.port)]));
    assert!(ended.status.success(), "{}{}", stdout(&ended), stderr(&ended));
    assert_eq!((cluster.replicas(), cluster.holder().as_str()), (3, "snake"));
    assert!(cluster.lock().log.iter().any(|asked| asked.path == LEASE && asked.status == 409));

    // Its lease is not renewed, so that it is taken over; what was scaled goes on from there.
    let mill = start(&cluster, dir.path(), "a", "");
    says_standby(&mill, "Not the leader: `snake` holds the lease");
    offer(&mill, 4);
    reaches(&cluster, 4);
    assert_eq!(cluster.holder(), "a");
}
