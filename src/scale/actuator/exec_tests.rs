//! real commands: what they are told, what is kept of what they say, and how they end

use super::super::{Actuator, Change, Outcome};
use super::*;
use std::sync::Arc;
use std::time::Instant;

async fn open_with(config: &str) -> Remote<Exec> {
    let config: Config = toml::from_str(config).unwrap();
    assert!(config.faults().is_empty(), "{:?}", config.faults());
    let ground = Ground { workload: "web".to_owned(), clock: Clock::system(), publish: Arc::new(|_| ()) };
    open(config, ground).await.unwrap()
}

fn shell(script: &str, more: &str) -> String {
    format!(
        "command = [\"/bin/sh\", \"-c\", '''{script}''', \"sh\", \"{{replicas}}\", \"{{from}} {{workload}} {{scaler}} {{decision}}\"]\n{more}"
    )
}

async fn scaled(script: &str, more: &str) -> Result<Outcome> {
    open_with(&shell(script, more)).await.carry_out(&change(3)).await
}

fn change(to: u32) -> Change {
    let reason = "Load; $(touch pwned) is 7.".to_owned();
    Change { decision: "web_s/17".to_owned(), scaler: "web_s".to_owned(), at: 17, from: 1, to, reason }
}

#[tokio::test]
async fn a_command_is_told_all_and_has_no_other_environment() {
    let script = "echo \"$1, $2, $(cat)\"; env | sort; echo late >&2";
    let words = scaled(script, "env = { COLOUR = \"blue\" }").await.unwrap().words;
    assert!(
        words.contains("`/bin/sh` ended well in") && words.contains("said: 3, 1 web web_s web_s/17, / "),
        "{words}"
    );
    for variable in
        ["COLOUR=blue", "TIDEMILL_REPLICAS=3", "TIDEMILL_FROM=1", "TIDEMILL_SCALER=web_s", "TIDEMILL_WORKLOAD=web"]
    {
        assert!(words.contains(variable), "{variable}: {words}");
    }
    assert!(words.contains("TIDEMILL_REASON=Load; $(touch pwned) is 7."), "{words}");
    assert!(!words.contains("HOME=") && !words.contains("CARGO"), "{words}");
}

#[tokio::test]
async fn how_it_ended_is_told_with_the_end_of_what_it_said() {
    for (script, said) in [
        ("echo no such thing >&2; exit 3", "`/bin/sh` ended with exit code 3 after"),
        ("kill -9 $$", "was ended by signal 9"),
        ("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 1", "and said: … "),
    ] {
        let error = scaled(script, "").await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
        assert!(error.message().len() < 1000, "{error}");
    }
    let error = open_with("command = [\"/nowhere/at/all\"]").await.carry_out(&change(3)).await.unwrap_err();
    assert!(error.message().contains("`/nowhere/at/all` cannot be started"), "{error}");
}

#[tokio::test]
async fn what_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; sh -c 'trap \"\" TERM; sleep 600' & echo $! > child; echo waiting; wait; sleep 600";
    let more = format!("timeout = \"300ms\"\ndirectory = \"{}\"", folder.path().display());
    let began = Instant::now();
    let error = scaled(script, &more).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(
        error.message().contains("did not end within 300ms and was killed")
            && error.message().ends_with("said: waiting"),
        "{error}"
    );
    let child: i32 = std::fs::read_to_string(folder.path().join("child")).unwrap().trim().parse().unwrap();
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    };
    for _ in 0..200 {
        if lives() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(!lives(), "a child of the command is left");
}

#[tokio::test]
async fn what_it_leaves_running_does_not_hold_it_up() {
    let began = Instant::now();
    let words = scaled("sleep 3 & echo started", "").await.unwrap().words;
    assert!(words.ends_with("said: started") && began.elapsed() < Duration::from_secs(3), "{words}");
}

#[tokio::test]
async fn a_command_says_how_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let observe = "observe = [\"/bin/cat\", \"count\"]\nsettle = \"0s\"\nobserve_every = \"1h\"";
    let more = format!("directory = \"{}\"\n{observe}", folder.path().display());
    std::fs::write(folder.path().join("count"), "5 4\n").unwrap();
    let remote = open_with(&shell("echo $1 > count", &more)).await;
    assert_eq!((remote.status().asked, remote.status().ready), (5, 4));
    assert!(remote.carry_out(&change(3)).await.unwrap().reached);
    assert_eq!((remote.status().asked, remote.status().ready), (3, 3));
    std::fs::write(folder.path().join("count"), "many\n").unwrap();
    let error = remote.carry_out(&change(2)).await.unwrap();
    assert!(error.reached, "the command wrote the number: {}", error.words);
    let wrong =
        open_with(&shell("true", &format!("observe = [\"/bin/echo\", \"many\"]\n{observe}").replace(observe, "")))
            .await;
    assert!(wrong.status().unknown.contains("must print how many replicas there are"), "{:?}", wrong.status());
    for (text, expected) in
        [("3", Some((3, 3))), (" 3 2\n", Some((3, 2))), ("", None), ("3 2 1", None), ("-1", None), ("3.5", None)]
    {
        assert_eq!(counted(text).map(|seen| (seen.replicas, seen.ready)), expected, "{text}");
    }
}
