//! Every plugin's cases through the real WebAssembly in the host; files that are no plugin for it.

use crate::mill::stderr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidemill::app;
use tidemill::case::Case;
use tidemill::plugin::{Account, Configured, Library, Limits, Plugin, component};

/// The examples and the zoo, as files.
pub fn test_plugin(name: &str) -> PathBuf {
    Path::new(env!("TIDEMILL_TEST_PLUGINS")).join(format!("{name}.wasm"))
}

pub fn library() -> Library {
    app::library(app::cache_folder().as_deref()).unwrap()
}

/// A plugin with settings, in a place of its own.
pub fn configured(plugin: Plugin, settings: &str) -> Configured {
    Configured {
        stage: "tested".into(),
        plugin,
        settings: settings.to_owned(),
        limits: Limits::default(),
        tables: Arc::default(),
        account: Arc::new(Account::default()),
    }
}

#[test]
fn every_case_of_every_plugin() {
    let library = library();
    let mut failures = Vec::new();
    let mut cases = 0;
    for pattern in ["plugins/*/cases", "plugins/examples/rust/*/cases"] {
        for folder in glob::glob(pattern).unwrap().flatten() {
            // Examples in other languages are built by the tests of those.
            if !folder.parent().unwrap().join("Cargo.toml").is_file() {
                continue;
            }
            let name = folder.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            let bundled = library.names().any(|known| known == name);
            let at = if bundled { name.clone() } else { test_plugin(&name).display().to_string() };
            let plugin = library.open(&at, Path::new("")).unwrap();
            for file in glob::glob(&format!("{}/*.toml", folder.display())).unwrap().flatten() {
                cases += 1;
                let run = Case::open(&file).and_then(|(_, case)| case.run(library.engine(), &plugin));
                match run {
                    Ok(differ) => failures.extend(differ.iter().map(|one| format!("{}: {one}", file.display()))),
                    Err(error) => failures.push(format!("{}: {error}", file.display())),
                }
            }
        }
    }
    // What is listed of the bundled ones without compiling them is what they say of themselves.
    for (name, world, about) in library.bundled() {
        let plugin = library.open(name, Path::new("")).unwrap();
        let (says_name, _, says_about) = library.describe(&plugin).unwrap();
        assert_eq!((name, world, about), (&*says_name, plugin.world(), &*says_about));
    }
    assert!(cases > 60, "{cases} cases");
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn files_that_are_no_plugin_say_why() {
    let library = library();
    let zoo = std::fs::read(test_plugin("misbehave")).unwrap();
    let another_version = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let at: Vec<usize> = memchr::memmem::find_iter(&bytes, b"@0.1.0").collect();
        at.into_iter().for_each(|at| bytes[at..at + 6].copy_from_slice(b"@0.2.0"));
        bytes
    };
    let huge = [component(&zoo).unwrap(), vec![0; 64 << 20]].concat();
    let files: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "it is not a WebAssembly file"),
        ("text", b"fn main() {}".to_vec(), "it is not a WebAssembly file"),
        ("cut", component(&zoo).unwrap()[..5000].to_vec(), "it does not compile"),
        (
            "nothing",
            b"\0asm\x0d\0\x01\0".to_vec(),
            "it exports none of the worlds parser, filter, enricher, autoscaler",
        ),
        ("module", b"\0asm\x01\0\0\0".to_vec(), "the module exports no plugin function"),
        ("wasi", wat::parse_str(WASI).unwrap(), "it wants `wasi:cli/environment@0.2.0`, and plugins get no WASI"),
        ("version", another_version(&component(&zoo).unwrap()), "another version of the plugin interface"),
        ("huge", huge, "a plugin may have 67108864"),
    ];
    for (name, bytes, says) in files {
        let error = library.load(name, "memory", &bytes).err().unwrap_or_else(|| panic!("{name} was taken"));
        assert!(error.message().contains(says), "{name}: {error}");
        assert!(error.message().starts_with(&format!("plugin `{name}`: ")), "{name}: {error}");
    }
    let export_only = wat::parse_str(NEWER).unwrap();
    let error = library.load("newer", "memory", &export_only).err().unwrap();
    assert!(error.message().contains("built against version 0.2.0 of the plugin interface"), "{error}");
    assert!(error.message().contains("tidemill:plugin@0.1.0"), "{error}");
}

const WASI: &str = r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#;
const NEWER: &str = r#"(component (instance $none) (export "tidemill:plugin/parsing@0.2.0" (instance $none)))"#;

#[test]
fn a_plugin_is_built_from_a_file_and_runs_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let file = test_plugin("dedupe");
    let built = crate::mill::run(dir.path(), &["plugin", "build", file.to_str().unwrap()]);
    assert!(built.status.success(), "{}", stderr(&built));
    let said = crate::mill::stdout(&built);
    assert!(said.contains("dedupe.wasm: filter dedupe "), "{said}");
    let sha256 = said.split("sha256 = \"").nth(1).unwrap().split('"').next().unwrap();
    let pipeline = |hash: &str| {
        format!(
            "[sources.events]\ntype = \"http\"\n[stages.once]\ntype = \"filter\"\ninputs = [\"events\"]\n\
             plugin = \"dedupe.wasm\"\nsha256 = \"{hash}\"\n[tables.events]\ninputs = [\"once\"]\n"
        )
    };
    let mill = crate::mill::Mill::start(dir.path(), &pipeline(sha256));
    mill.push("events", "a\na\nb\n");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 2);
    assert_eq!(mill.number(&format!("SELECT count(*) FROM tidemill.plugins WHERE sha256 = '{sha256}'")), 1);
    mill.stop();
    std::fs::write(dir.path().join("pipeline.toml"), pipeline(&"0".repeat(64))).unwrap();
    let refused = crate::mill::run(dir.path(), &["run", "pipeline.toml", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains(&format!("pipeline.toml:7: stages.once: plugin `dedupe.wasm` has the hash {sha256}"))
    );
    let broken = crate::mill::run(dir.path(), &["plugin", "build", "nothing"]);
    assert_eq!((broken.status.code(), stderr(&broken).trim()), (Some(1), "tidemill: there is no nothing"));
}
