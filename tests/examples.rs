//! What people copy works: pipeline files, and the example of every source and workload.

use crate::mill::{finish, stderr, stdout, tidemill};
use std::path::Path;
use tidemill::scale::actuator::ACTUATORS;
use tidemill::source::SOURCES;

fn checked(dir: &Path, file: &Path) {
    let file = file.to_str().unwrap();
    let output = finish(tidemill(&["check", file]).current_dir(dir).env("ACCESS_LOG", "/var/log/nginx/access.log"));
    assert!(output.status.success(), "{file}: {}", stderr(&output));
}

#[test]
fn every_pipeline_file_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = glob::glob(root.join("pipelines/*.toml").to_str().unwrap()).unwrap().flatten().collect();
    assert!(files.len() >= 2, "{files:?}");
    files.iter().for_each(|file| checked(root, file));
}

#[test]
fn the_smallest_pipeline_of_the_reference_is_right() {
    let text = std::fs::read_to_string("pipelines/README.md").unwrap();
    let dir = tempfile::tempdir().unwrap();
    for example in text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        match example.contains("[[steps]]") {
            true => passed(dir.path(), example),
            false => {
                std::fs::write(dir.path().join("example.toml"), example).unwrap();
                checked(dir.path(), Path::new("example.toml"));
            }
        }
    }
}

/// A scaling case of the reference passes with a scaler that it could be about.
fn passed(dir: &Path, case: &str) {
    let pipeline = "[workloads.web]\ntype = \"none\"\n[scalers.web]\nworkload = \"web\"\nplugin = \"hpa\"\nsettings.target = 50\nmax = 10\n\
                    signals.rps = \"SELECT 1.0 AS value\"\n";
    std::fs::create_dir_all(dir.join("cases")).unwrap();
    std::fs::write(dir.join("web.toml"), pipeline).unwrap();
    std::fs::write(dir.join("cases/web.toml"), case).unwrap();
    let output = finish(tidemill(&["test"]).current_dir(dir));
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn every_example_of_sources_and_workloads_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let workload = "[workloads.scrypt]\ntype = \"none\"\n[workloads.web]\ntype = \"none\"\n";
    for source in SOURCES {
        let text =
            format!("[sources.example]\n{}\n[tables.example]\ninputs = [\"example\"]\n{workload}", source.example);
        assert!(source.example.starts_with(&format!("type = \"{}\"", source.name)), "{}", source.example);
        std::fs::write(dir.path().join(format!("{}.toml", source.name)), text).unwrap();
        checked(dir.path(), Path::new(&format!("{}.toml", source.name)));
    }
    for actuator in ACTUATORS {
        std::fs::write(dir.path().join("w.toml"), format!("[workloads.example]\n{}\n", actuator.example)).unwrap();
        checked(dir.path(), Path::new("w.toml"));
    }
}
