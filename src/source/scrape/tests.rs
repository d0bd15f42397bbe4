//! tests of scraping with made-up targets and a pipeline that answers

use super::*;
use crate::source::testing::Pipeline;
use futures::FutureExt;
use std::sync::Mutex;

/// Answers by address.
#[derive(Default)]
struct Fake(Mutex<HashMap<String, Result<Fetched>>>);

impl Fake {
    fn answers(&self, url: &str, status: u16, body: &str) {
        // As servers tell it by the ending of the path.
        let content_type = match url.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("open") => "application/openmetrics-text; version=1.0.0",
            _ => "text/plain; version=0.0.4",
        };
        let fetched = Fetched {
            status,
            content_type: Some(content_type.to_owned()),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        self.0.lock().unwrap().insert(url.to_owned(), Ok(fetched));
    }
}

impl Fetch for Fake {
    fn fetch(&self, get: Get) -> BoxFuture<'_, Result<Fetched>> {
        let answer = self.0.lock().unwrap().get(&get.url).cloned();
        let refused = || Err(Error::new(ErrorKind::Io, "connection refused"));
        async move {
            match get.url.contains("slow") {
                true => futures::future::pending().await,
                false => answer.unwrap_or_else(refused),
            }
        }
        .boxed()
    }
}

fn config(targets: &[&str]) -> Config {
    let mut config: Config = toml::from_str("workload = \"w\"\nevery = \"100ms\"\njob = \"j\"").unwrap();
    config.targets = targets.iter().map(|target| (*target).to_owned()).collect();
    config
}

async fn scraped(config: Config, fake: Fake, rows: usize) -> (Vec<String>, Pipeline) {
    let pipeline = Pipeline::start("s");
    let running = tokio::spawn(run(config, pipeline.outlet.clone(), Targets::default(), Arc::new(fake)));
    pipeline.wait(|batches| batches.iter().map(|b| b.num_rows()).sum::<usize>() >= rows).await;
    pipeline.until(|| pipeline.outlet.progress.standings().iter().all(|(_, s)| s.caught_up_at + s.error_at > 0)).await;
    pipeline.outlet.stop.cancel();
    running.await.unwrap().unwrap();
    let lines = pipeline.metrics().into_iter().take(rows).map(|(line, _)| line);
    (lines.filter(|line| !line.contains("scrape_duration")).collect(), pipeline)
}

#[tokio::test]
async fn samples_get_the_labels_of_their_target() {
    let url = "http://user@127.0.0.1:9100/metrics";
    let fake = Fake::default();
    fake.answers(url, 200, "# TYPE a counter\na{job=\"own\",b=\"c\",empty=\"\"} 1 5000\nx 2\n");
    let (lines, pipeline) = scraped(config(&[url]), fake, 5).await;
    assert_eq!(
        lines,
        [
            "counter a{b=c,exported_job=own,instance=127.0.0.1:9100,job=j} 1",
            "unknown x{instance=127.0.0.1:9100,job=j} 2",
            "gauge up{instance=127.0.0.1:9100,job=j} 1",
            "gauge scrape_samples_scraped{instance=127.0.0.1:9100,job=j} 2",
        ]
    );
    let times: Vec<i64> = pipeline.metrics().into_iter().map(|(_, time)| time).collect();
    assert_eq!(times[0], 5_000_000_000);
    assert!(times[1] > 1_700_000_000_000_000_000 && times[1] == times[2]);
    assert!(pipeline.outlet.progress.caught_up_at() > 0);
}

#[tokio::test]
async fn honored_labels_win() {
    let url = "http://h/metrics";
    let fake = Fake::default();
    fake.answers(url, 200, "a{job=\"own\"} 1\n");
    let mut config = config(&[url]);
    config.honor_labels = true;
    config.labels = BTreeMap::from([("zone".into(), "z".into())]);
    let (lines, _) = scraped(config, fake, 4).await;
    assert_eq!(lines[0], "unknown a{instance=h,job=own,zone=z} 1");
}

#[tokio::test]
async fn what_goes_wrong_is_up_0_and_told() {
    let rows = [
        ("http://h/refused", "", 200, "connection refused"),
        ("http://h/status", "a 1\n", 500, "answered with status 500"),
        (
            "http://h/text",
            "a 1\nb c\n",
            200,
            "the answer (`text/plain; version=0.0.4`) is not in the Prometheus text format: line 2, `b c`: `c` is no number",
        ),
        (
            "http://h/page.html",
            "\n<!DOCTYPE html>\n",
            200,
            "the answer is `text/html; charset=utf-8`, not metrics; name the address that serves them, often `/metrics`: \
             line 2, `<!DOCTYPE html>`: `<!DOCTYPE html>` is no name of a metric",
        ),
        (
            "http://h/cut.open",
            "a 1\n",
            200,
            "the answer (`application/openmetrics-text; version=1.0.0`) is not OpenMetrics: the text does not end with `# EOF`, so \
             it may be cut off",
        ),
        ("http://h/many", "a 1\nb 1\nc 1\n", 200, "line 3, `c 1`: more than 2 samples (`samples_max`)"),
        ("http://h/slow", "", 200, "no answer within 100ms (`timeout`)"),
    ];
    for (url, body, status, error) in rows {
        let fake = Fake::default();
        if !body.is_empty() {
            fake.answers(url, status, body);
        }
        let mut config = config(&[url]);
        config.samples_max = 2;
        let (lines, pipeline) = scraped(config, fake, 3).await;
        assert_eq!(lines[0], "gauge up{instance=h,job=j} 0", "{url}");
        let (_, standing) = pipeline.outlet.progress.standings().remove(0);
        assert_eq!((standing.error.as_str(), standing.caught_up_at), (error, 0), "{url}");
    }
}

#[test]
fn every_bad_target_is_told() {
    let mut config = config(&[
        "localhost:9100",
        "http://",
        "http://h:1/metrics",
        "http://h:1/probe?target=x",
        "http://h:2/metrics",
        "http://h:2/metrics",
        "http://h:port/",
    ]);
    config.path = "metrics".into();
    let told: Vec<_> = config.faults().into_iter().map(|fault| (fault.key, fault.error.to_string())).collect();
    let wanted = [
        ("targets.0", "must start with `http://`"),
        ("targets.1", "is no address"),
        ("targets.3", "would have the same labels"),
        ("targets.5", "is there twice"),
        ("targets.6", "is no address"),
        ("path", "must start with `/`"),
    ];
    assert_eq!(told.len(), wanted.len(), "{told:?}");
    for ((key, message), (wanted_key, says)) in told.iter().zip(wanted) {
        assert!(key == wanted_key && message.contains(says), "{key}: {message}");
    }
}

#[tokio::test]
async fn targets_come_and_go() {
    let pipeline = Pipeline::start("s");
    let fake = Fake::default();
    fake.answers("http://h/1", 200, "a 1\n");
    let targets = Targets::default();
    let replica = Target { url: "http://h/1".into(), labels: BTreeMap::from([("replica".into(), "w-0".into())]) };
    let running = tokio::spawn(run(config(&[]), pipeline.outlet.clone(), targets.clone(), Arc::new(fake)));
    targets.set(vec![replica]);
    pipeline.wait(|batches| batches.len() > 2).await;
    assert_eq!(pipeline.metrics()[0].0, "unknown a{instance=h,job=j,replica=w-0} 1");
    targets.set(vec![]);
    pipeline.until(|| pipeline.outlet.progress.standings().is_empty()).await;
    pipeline.outlet.stop.cancel();
    running.await.unwrap().unwrap();
}
