//! `tidemill scale import`: every kind of metric, both versions, lists and several documents; what cannot be converted, by its line.

use crate::mill::{finish, run, stderr, stdout, tidemill};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

const V2: &str = r#"apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web-front
  namespace: shop
  labels: {team: x}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 10
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}
  - type: Resource
    resource: {name: memory, target: {type: AverageValue, averageValue: 512Mi}}
  - type: ContainerResource
    containerResource: {name: cpu, container: app, target: {type: AverageValue, averageValue: 500m}}
  - type: Pods
    pods:
      metric: {name: requests_per_second}
      target: {type: AverageValue, averageValue: 1k}
  - type: Object
    object:
      metric: {name: hits}
      describedObject: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: main}
      target: {type: Value, value: "2k"}
  - type: External
    external:
      metric: {name: queue.length, selector: {matchLabels: {queue: worker}}}
      target: {type: AverageValue, averageValue: "30"}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 120
      policies:
      - {type: Percent, value: 10, periodSeconds: 60}
      selectPolicy: Min
    scaleUp:
      tolerance: "0.05"
status: {currentReplicas: 3, desiredReplicas: 3}
---
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: v1
kind: List
items:
- apiVersion: autoscaling/v1
  kind: HorizontalPodAutoscaler
  metadata: {name: web-front}
  spec:
    maxReplicas: 4
    targetCPUUtilizationPercentage: 50
    scaleTargetRef: {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: web}
"#;

fn import(dir: &Path, manifest: &str) -> (Option<i32>, String, String) {
    std::fs::write(dir.join("hpa.yaml"), manifest).unwrap();
    let ended = run(dir, &["scale", "import", "hpa.yaml"]);
    (ended.status.code(), stdout(&ended), stderr(&ended))
}

const KEDA: &str = r#"apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: worker
  namespace: shop
  annotations: {autoscaling.keda.sh/paused-replicas: "3"}
spec:
  scaleTargetRef: {name: worker}
  pollingInterval: 10
  cooldownPeriod: 120
  minReplicaCount: 1
  maxReplicaCount: 20
  fallback: {failureThreshold: 3, replicas: 6}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: 60
          policies: [{type: Pods, value: 1, periodSeconds: 60}]
  triggers:
  - type: kafka
    metadata: {topic: orders, consumerGroup: shop, bootstrapServers: "kafka:9092", activationLagThreshold: "3"}
  - type: prometheus
    name: requests
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(rate(http_requests_total[2m]))
      threshold: "12.5"
  - type: cron
    metadata: {timezone: Europe/Berlin, start: 0 8 * * 1-5, end: 0 18 * * 1-5, desiredReplicas: "5"}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: nightly}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: batch}
  cooldownPeriod: 400
  idleReplicaCount: 0
  minReplicaCount: 2
  triggers:
  - type: rabbitmq
    metadata: {host: "amqp://user:hunter2@mq/", queueName: jobs, value: "20", activationValue: "5"}
  - type: cron
    metadata: {timezone: UTC, start: 0 1 * * *, end: 0 3 * * *, desiredReplicas: "2"}
"#;

/// Checks what was imported, beside a table of loads.
fn check(dir: &Path, toml: &str) -> (Option<i32>, String) {
    let source = "[sources.load]\ntype = \"http\"\n[tables.load]\ninputs = [\"load\"]\n\n";
    std::fs::write(dir.join("scale.toml"), format!("{source}{toml}")).unwrap();
    let ended = run(dir, &["check", "scale.toml"]);
    (ended.status.code(), stdout(&ended) + &stderr(&ended))
}

/// With every query filled in.
fn filled(toml: &str) -> String {
    let line = |line: &str| match line.split_once(" FROM fill_in_") {
        Some((before, _)) => format!("{} FROM load\"\n", before.replace("value", "avg(rps) AS value")),
        None => format!("{line}\n"),
    };
    toml.lines().map(line).collect()
}

#[test]
fn what_is_imported_passes_check_once_its_queries_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (code, toml, told) = import(dir.path(), V2);
    assert_eq!(code, Some(0), "{told}");
    for part in [
        "min = 2\nmax = 10",
        "cpu = { type = \"Utilization\", target = 60.0 }",
        "memory = { type = \"AverageValue\", target = 536870912.0 }",
        "cpu_app = { type = \"AverageValue\", resource = \"cpu\", target = 0.5 }",
        "requests_per_second = { type = \"AverageValue\", target = 1000.0 }",
        "hits = { type = \"Value\", target = 2000.0 }",
        "queue_length = { type = \"AverageValue\", target = 30.0 }",
        "[scalers.web_front.settings.behavior.scaleDown]\nstabilizationWindowSeconds = 120\nselectPolicy = \"Min\"\n\
         policies = [{ type = \"Percent\", value = 10, periodSeconds = 60 }]",
        "[scalers.web_front.settings.behavior.scaleUp]\ntolerance = 0.05",
        "# Fill in: the metric `queue.length` where queue = worker, its total",
        "[workloads.web_front]\ntype = \"kubernetes\"\nnamespace = \"shop\"\nkind = \"Deployment\"\nname = \"web\"",
        "[scalers.web_front_2]",
        "kind = \"Rollout\"\napi_version = \"argoproj.io/v1alpha1\"",
    ] {
        assert!(toml.contains(part), "{part}\n{toml}");
    }
    for part in [
        "hpa.yaml:13: fill in scalers.web_front.signals.cpu: what all containers of the ready replicas use",
        "hpa.yaml:24: fill in scalers.web_front.signals.hits: the metric `hits` of the Ingress `main`, as one number `value`",
        "a Service is left out",
        "fill in scalers.web_front_2.signals.cpu",
        "2 scalers written",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let (code, told) = check(dir.path(), &toml);
    assert!(code == Some(1) && told.contains("fill_in_cpu"), "a query that was not filled in is found: {told}");
    let (code, told) = check(dir.path(), &filled(&toml));
    assert_eq!(code, Some(0), "{told}\n{toml}");
}

#[test]
fn it_is_read_from_a_pipe_and_written_to_a_new_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let json = r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"a.b"},
        "spec":{"maxReplicas":3,"scaleTargetRef":{"kind":"StatefulSet","name":"db"}}}"#;
    let into = |json: &str| {
        let mut command = tidemill(&["scale", "import", "-", "-o", "out.toml"]);
        command.current_dir(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(json.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let ended = into(json);
    assert!(ended.status.success() && ended.stdout.is_empty(), "{}", stderr(&ended));
    let toml = std::fs::read_to_string(dir.path().join("out.toml")).unwrap();
    assert!(
        toml.contains("[scalers.a_b]") && toml.contains("cpu = { type = \"Utilization\", target = 80.0 }"),
        "{toml}"
    );
    let ended = into(json);
    assert!(!ended.status.success() && stderr(&ended).contains("out.toml is there already"), "{}", stderr(&ended));
}

#[test]
fn what_cannot_be_converted_is_told_with_its_line_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, told) in [
        (
            "maxReplicas: 10",
            "maxReplica: 10",
            "hpa.yaml:10: unknown field `spec.maxReplica`; did you mean `maxReplicas`?",
        ),
        ("maxReplicas: 10", "maxReplicas: ten", "hpa.yaml:10: `spec.maxReplicas` is no whole number"),
        ("autoscaling/v2\n", "autoscaling/v3\n", "hpa.yaml:1: apiVersion `autoscaling/v3` is not known"),
        ("type: External", "type: Extern", "hpa.yaml:27: `spec.metrics[5].type` is `Extern`; known are Resource,"),
        (
            "averageUtilization: 60",
            "averageUtilisation: 60",
            "unknown field `spec.metrics[0].resource.target.averageUtilisation`",
        ),
        (
            "averageValue: 512Mi",
            "averageValue: 512MB",
            "hpa.yaml:15: `spec.metrics[1].resource.target.averageValue` is no quantity",
        ),
        ("averageValue: 1k", "averageValue: 0", "must be more than 0"),
        ("selectPolicy: Min", "selectPolicy: Most", "known are Max, Min and Disabled"),
        ("type: Percent", "type: Pod", "known are Pods and Percent"),
        (
            "labels: {team: x}",
            "annotations: {autoscaling.alpha.kubernetes.io/metrics: \"[]\"}",
            "hpa.yaml:6: the annotation",
        ),
        (
            "  scaleTargetRef: {apiVersion: apps/v1",
            "  scaleTargetRef: {version: apps/v1",
            "unknown field `spec.scaleTargetRef.version`",
        ),
    ] {
        let manifest = V2.replacen(from, to, 1);
        assert_ne!(manifest, V2, "{from}");
        let (code, out, said) = import(dir.path(), &manifest);
        assert!(code == Some(1) && out.is_empty() && said.contains(told), "{told}\n{said}");
    }
    let (code, _, said) = import(dir.path(), "kind: Service\nmetadata: {name: web}\n");
    assert!(code == Some(1) && said.contains("has no HorizontalPodAutoscaler"), "{said}");
    let (code, _, said) = import(dir.path(), "kind: [\n");
    assert!(code == Some(1) && said.contains("hpa.yaml:") && said.contains("no YAML"), "{said}");
    let ended = finish(tidemill(&["scale", "import", "nowhere.yaml"]).current_dir(dir.path()));
    assert!(stderr(&ended).contains("cannot read nowhere.yaml"), "{}", stderr(&ended));
}

#[test]
fn a_scaled_object_becomes_a_scaler() {
    let dir = tempfile::tempdir().unwrap();
    let (code, toml, told) = import(dir.path(), KEDA);
    assert_eq!(code, Some(0), "{told}");
    for part in [
        "# From the ScaledObject shop/worker (hpa.yaml, line 1).",
        "plugin = \"keda\"\nevery = \"10s\"\nmin = 1\nmax = 20\nstabilize_down = \"60s\"",
        "cooldown = \"0s\"\n\n[[scalers.worker.settings.schedules]]",
        "start = \"0 8 * * 1-5\"\nend = \"0 18 * * 1-5\"\ntimezone = \"Europe/Berlin\"\ndesired_replicas = 5",
        "kafka = { threshold = 10.0, activation = 3.0 }",
        "requests = { threshold = 12.5, activation = 0.0 }",
        "kind = \"Deployment\"\nname = \"worker\"",
        "# From the ScaledObject nightly",
        "every = \"30s\"\nmin = 0\nmax = 100\nstabilize_down = \"300s\"",
        "cooldown = \"100s\"\nidle_replicas = 0\nmin_replicas = 2",
        "rabbitmq = { threshold = 20.0, activation = 5.0 }",
        "# Fill in: what the trigger `rabbitmq` counts (queueName = jobs, value = 20, activationValue = 5), as one number `value`.",
        "kind = \"StatefulSet\"\nname = \"batch\"",
    ] {
        assert!(toml.contains(part), "{part}\n{toml}");
    }
    for part in [
        "hpa.yaml:6: left out of scalers.worker: the annotation `autoscaling.keda.sh/paused-replicas: 3`",
        "hpa.yaml:13: left out of scalers.worker: `spec.fallback`",
        "hpa.yaml:19: left out of scalers.worker: `spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.policies`",
        "fill in scalers.worker.signals.requests: what prometheus is asked by `sum(rate(http_requests_total[2m]))`",
        "2 scalers written",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!toml.contains("hunter2") && !told.contains("hunter2"), "{toml}{told}");
    let (code, checked) = check(dir.path(), &filled(&toml));
    assert_eq!(code, Some(0), "{checked}");
}

#[test]
fn what_of_a_scaled_object_cannot_be_converted_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, said) in [
        ("type: kafka", "type: cpu", "hpa.yaml:21: `cpu` is a share of what replicas ask for"),
        (
            "threshold: \"12.5\"",
            "threshold: many",
            "`spec.triggers[1].metadata.threshold` is `many`, which is no number",
        ),
        ("threshold: \"12.5\"", "ignored: 1", "`spec.triggers[1].metadata` says no threshold (threshold)"),
        ("threshold: \"12.5\"", "threshold: 0", "must be more than 0"),
        ("start: 0 8 * * 1-5, ", "", "`spec.triggers[2].metadata.start` is missing"),
        (
            "desiredReplicas: \"5\"",
            "desiredReplicas: few",
            "`spec.triggers[2].metadata.desiredReplicas` is no number of replicas",
        ),
        ("name: requests", "metricType: Value", "only AverageValue is converted"),
        ("keda.sh/v1alpha1", "keda.sh/v2", "apiVersion `keda.sh/v2` is not known of a ScaledObject"),
        ("pollingInterval", "pollInterval", "spec.pollInterval"),
        ("  triggers:\n  - type: kafka", "  triggers: []\n  was:\n  - type: kafka", "`spec.triggers` has no trigger"),
    ] {
        let (code, toml, told) = import(dir.path(), &KEDA.replacen(from, to, 1));
        assert_eq!((code, toml.as_str()), (Some(1), ""), "{from}: {told}");
        assert!(told.contains(said), "{from}: {told}");
    }
}
