//! Plugins in every language: what `plugin new` begins is built and passes its cases, and so does every example; what authors get wrong
//! is said.

use crate::mill::{finish_within, stderr, stdout, tidemill};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A tool chain that starts cold compiles its own libraries first.
const BUILD_MAX: Duration = Duration::from_secs(900);
const WORLDS: [&str; 4] = ["parser", "filter", "enricher", "autoscaler"];

macro_rules! languages {
    ($($name:ident),*) => {
        /// Languages with a test of their own below.
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            language(stringify!($name));
        })*
    };
}

languages!(rust, c, cpp, zig, go, javascript, typescript, python);

#[test]
fn every_language_has_a_test() {
    let (mut known, mut tested) = (known(), TESTED.to_vec());
    known.sort();
    tested.sort();
    assert_eq!(known, tested, "add or take away what differs in `languages!` here");
}

/// The languages that a project can be begun in, as the command names them.
fn known() -> Vec<String> {
    let refused = run(Path::new("."), &["plugin", "new", "x", "--world", "parser", "--lang", "nothing"]);
    let said = stderr(&refused);
    let list = said.split("(languages: ").nth(1).and_then(|rest| rest.split(')').next());
    list.unwrap_or_else(|| panic!("{said}")).split(", ").map(str::to_owned).collect()
}

fn run(folder: &Path, arguments: &[&str]) -> std::process::Output {
    finish_within(tidemill(arguments).current_dir(folder), BUILD_MAX)
}

/// Runs what must succeed; what it printed.
fn well(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}\n{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

fn language(name: &str) {
    // Kept between runs, so that what was compiled is not compiled again.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("languages").join(name);
    std::fs::create_dir_all(&place).unwrap();
    let mut begun = 0;
    for world in WORLDS {
        let project = place.join(format!("tried-{world}"));
        let _ = std::fs::remove_dir_all(&project);
        let new = run(&place, &["plugin", "new", &format!("tried-{world}"), "--lang", name, "--world", world]);
        if stderr(&new).contains("there is nothing in") {
            continue;
        }
        assert!(new.status.success(), "{}", stderr(&new));
        if let Some((_, missing)) = stdout(&new).split_once("something is missing here: ") {
            println!("left out: {}", missing.trim());
            return;
        }
        begun += 1;
        if name == "rust" {
            std::fs::create_dir_all(place.join("cache")).unwrap();
            std::os::unix::fs::symlink(place.join("cache"), project.join("target")).unwrap();
        }
        passes(&project);
        if name == "rust" {
            natively(&project);
        }
    }
    assert!(begun > 0, "nothing can be begun in {name}");
    let mistakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes").join(name);
    for example in examples(name).into_iter().chain(mistakes.is_dir().then_some(mistakes)) {
        let built = place.join(format!("{}.wasm", example.file_name().unwrap().to_str().unwrap()));
        let built = built.to_str().unwrap();
        well(&example, &["plugin", "build", ".", "--output", built]);
        well(&example, &["plugin", "test", built, "--cases", "cases"]);
    }
}

/// Builds a project as its author would, and runs its cases; a case that is wrong is noticed.
fn passes(project: &Path) {
    well(project, &["plugin", "build"]);
    let name = project.file_name().unwrap().to_str().unwrap();
    let file = format!("{name}.wasm");
    assert!(project.join(&file).is_file());
    let said = well(project, &["plugin", "test", &file]);
    assert!(said.contains(" passed, 0 failed"), "{said}");
    let wrong = project.join("cases/wrong.toml");
    std::fs::write(&wrong, "refused = \"no plugin says this\"\n").unwrap();
    let failed = run(project, &["plugin", "test", &file]);
    assert_eq!(failed.status.code(), Some(1), "{}", stdout(&failed));
    assert!(stdout(&failed).contains("FAILED  cases/wrong.toml"), "{}", stdout(&failed));
}

/// The cases of a Rust project under `cargo test`.
fn natively(project: &Path) {
    std::fs::remove_file(project.join("cases/wrong.toml")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet"]).current_dir(project).env_remove("CARGO_TARGET_DIR");
    let output = finish_within(&mut cargo, BUILD_MAX);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}

/// The examples in a language; those in Rust are built by the build script, and `plugins.rs` runs their cases.
fn examples(name: &str) -> Vec<PathBuf> {
    let folder = std::env::current_dir().unwrap().join("plugins/examples").join(name);
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let folders = listing.flatten().map(|entry| entry.path()).filter(|path| path.join("cases").is_dir());
    let mut folders: Vec<PathBuf> = folders.filter(|path| !path.join("Cargo.toml").is_file()).collect();
    folders.sort();
    folders
}
