//! Scaling cases: those of the examples and of bad input pass, a wrong one says what differs, and is brought up to date.

use crate::mill::{finish, stderr, stdout, tidemill};
use std::path::Path;

fn ran(arguments: &[&str]) -> (bool, String, String) {
    let output = finish(tidemill(arguments).current_dir(env!("CARGO_MANIFEST_DIR")));
    (output.status.success(), stdout(&output), stderr(&output))
}

#[test]
fn cases_of_the_examples_and_of_bad_input_pass() {
    let (passed, told, errors) = ran(&["test", "pipelines", "tests/scaling"]);
    assert!(passed, "{told}{errors}");
    // Every pipeline that has a scaler has a case.
    for file in glob::glob(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/*.toml")).unwrap().flatten() {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        if text.contains("\n[scalers.") {
            let has = glob::glob(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/cases/*.toml")).unwrap().flatten();
            let named = format!("pipeline = \"../{name}\"");
            assert!(
                has.into_iter().any(|case| std::fs::read_to_string(case).unwrap().contains(&named)),
                "{name} has no case"
            );
        }
    }
}

const CASE: &str = r#"about = "grows"   # a remark that stays
replicas = 1

[scaler]
plugin = "hpa"
settings = { type = "AverageValue", targets = { rps = 10.0 } }
max = 5
signals.rps = ""

[[steps]]
signals.rps = 8.0
expect = { replicas = 1 }

[[steps]]
at = "5s"
signals.rps = 31.0
expect = { replicas = 3, reason = "not said" } # another
"#;

#[test]
fn a_wrong_case_says_what_differs_and_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grows.toml");
    std::fs::write(&file, CASE).unwrap();
    let path = folder.path().to_str().unwrap();
    let (passed, told, _) = ran(&["test", path]);
    assert!(!passed);
    for part in [
        "FAILED",
        ": grows\n",
        "step 2, at 5s",
        "expected  3 replicas: not said",
        "got       4 replicas, 1 ready: ",
        "1 → 4",
        "`--update`",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (passed, told, _) = ran(&["test", path, "--update"]);
    assert!(passed && told.contains("1 brought up to date"), "{told}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("# a remark that stays") && text.contains("expect = { replicas = 4, reason = \""), "{text}");
    assert!(text.contains("# another") && text.contains("expect = { replicas = 1 }"), "{text}");
    assert!(ran(&["test", path]).0);
}

#[test]
fn mistakes_in_a_case_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        (
            CASE.replace("signals.rps = 8.0", "signals.rsp = 8.0"),
            "step 1: the scaler has no signal `rsp`; did you mean `rps`?",
        ),
        (CASE.replace("max = 5", "max = 5\nmaxx = 6"), "scaler: unknown field `maxx`"),
        (CASE.replace("max = 5", "max = 5\nmin = 9"), "scaler.min: min is 9 and max is 5"),
        (CASE.replace("at = \"5s\"", "when = \"5s\""), "unknown field `when`"),
        (CASE.replace("signals.rps = 8.0", ""), "step 1: signals.rps: write a value"),
        (
            CASE.replace("signals.rps = 8.0", "signals.rps = { stal = 8.0 }"),
            "step 1: signals.rps: unknown key `stal`; did you mean `stale`?",
        ),
        (CASE.replace("hpa", "hpaa"), "hpaa"),
        (CASE.replace("[scaler]", "[scalr]"), "unknown field `scalr`"),
        (
            CASE.replace("replicas = 1\n\n[scaler]", "pipeline = \"none.toml\"\nscaler = \"web\"\n[other]"),
            "unknown field `other`",
        ),
        ("pipeline = \"none.toml\"\n[[steps]]\nexpect = {}\n".to_owned(), "cannot be read"),
        ("[[steps]]\nexpect = {}\n".to_owned(), "it says of no scaler"),
    ];
    for (text, says) in rows {
        let file = folder.path().join("case.toml");
        // A step that says nothing of a signal is fine where an earlier one does: here none does.
        let text =
            if says.ends_with("write a value") { text.replace("signals.rps = 31.0", "signals.rps = {}") } else { text };
        std::fs::write(&file, &text).unwrap();
        let (passed, told, errors) = ran(&["test", file.to_str().unwrap()]);
        let said = says.replace("step 1: signals.rps: write a value", "step 2: signals.rps: write a value");
        assert!(!passed && told.contains(&said), "{said}\n{told}{errors}");
    }
    // In a folder too, what was meant to be a case and is none is told, and not passed over.
    std::fs::write(folder.path().join("case.toml"), CASE.replace("[[steps]]", "[[step]]")).unwrap();
    std::fs::write(folder.path().join("torn.toml"), "about = \"").unwrap();
    std::fs::write(folder.path().join("pipeline.toml"), "[sources.a]\ntype = \"stdin\"\n").unwrap();
    let (passed, told, errors) = ran(&["test", folder.path().to_str().unwrap()]);
    assert!(!passed && told.contains("2 cases: 0 passed, 2 failed"), "{told}{errors}");
    let (passed, _, errors) = ran(&["test", "tests/zoo"]);
    assert!(!passed && errors.contains("there is no scaling case in tests/zoo"), "{errors}");
    assert!(Path::new("tests/zoo").is_dir());
}
