//! the plugin against the uap project's own test lists, and against its reference engine on the agents of real access logs

#[path = "../build/source.rs"]
#[allow(dead_code)]
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill_plugin::{Batch, Build, Context, Enriched, Enricher, Texts, wire};
use user_agent::UserAgent;

#[derive(Deserialize)]
struct List {
    test_cases: Vec<Entry>,
}

/// What uap expects of one agent: of its browser, its system or its device.
#[derive(Deserialize)]
struct Entry {
    user_agent_string: String,
    family: String,
    major: Option<String>,
    minor: Option<String>,
    patch: Option<String>,
    patch_minor: Option<String>,
    brand: Option<String>,
    model: Option<String>,
    /// Only in lists of an old form, which say what scripts find out beside the agent.
    js_ua: Option<String>,
}

fn read(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let list: List = serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    list.test_cases.into_iter().filter(|entry| entry.js_ua.is_none()).collect()
}

/// What the plugin writes for each agent, as text.
fn enrich(agents: &[&str], columns: &[&str]) -> Vec<Vec<Option<String>>> {
    let settings = serde_json::json!({ "columns": columns }).to_string();
    let (mut plugin, _) = tidemill_plugin::configure::<UserAgent>(&settings).unwrap();
    let mut texts = Texts::default();
    agents.iter().for_each(|agent| texts.push(agent));
    let (values, validity) = texts.build();
    let input = Batch::new(agents.len(), vec![wire::Column { name: "user_agent".to_owned(), values, validity }]);
    let mut output = Enriched::new(agents.len());
    plugin.enrich(&input, &Context::default(), &mut output).unwrap();
    let answer = Batch::new(agents.len(), output.into_wire().unwrap().0);
    let text = |column: &str, row| {
        answer.column(column).unwrap().text_of(row).map(|text| String::from_utf8(text.into_owned()).unwrap())
    };
    (0..agents.len()).map(|row| columns.iter().map(|column| text(column, row)).collect()).collect()
}

fn family(name: &str) -> Option<String> {
    (!name.is_empty() && name != "Other").then(|| name.to_owned())
}

fn version(parts: [&Option<String>; 4]) -> Option<String> {
    let there: Vec<&str> =
        parts.into_iter().map_while(|part| part.as_deref().filter(|part| !part.is_empty())).collect();
    (!there.is_empty()).then(|| there.join("."))
}

/// Every entry as uap says it, or a list of those that are not.
fn check(list: &str, columns: &[&str], expected: impl Fn(&Entry) -> Vec<Option<String>>) {
    let entries = read(&source::folder().unwrap().join(list));
    let agents: Vec<&str> = entries.iter().map(|entry| entry.user_agent_string.as_str()).collect();
    let wrong: Vec<String> = enrich(&agents, columns)
        .into_iter()
        .zip(&entries)
        .filter(|(got, entry)| *got != expected(entry))
        .map(|(got, entry)| format!("{}\n  is {got:?}, uap says {:?}", entry.user_agent_string, expected(entry)))
        .collect();
    println!("{list}: {} of {} as uap says", entries.len() - wrong.len(), entries.len());
    assert!(entries.len() > 10 && wrong.is_empty(), "{list}:\n{}", wrong.join("\n"));
}

fn browser(entry: &Entry) -> Vec<Option<String>> {
    vec![family(&entry.family), version([&entry.major, &entry.minor, &entry.patch, &entry.patch_minor])]
}

#[test]
fn browsers() {
    for list in [
        "tests/test_ua.yaml",
        "test_resources/firefox_user_agent_strings.yaml",
        "test_resources/opera_mini_user_agent_strings.yaml",
        "test_resources/podcasting_user_agent_strings.yaml",
        "test_resources/pgts_browser_list.yaml",
    ] {
        check(list, &["ua_family", "ua_version"], browser);
    }
}

#[test]
fn systems() {
    for list in ["tests/test_os.yaml", "test_resources/additional_os_tests.yaml"] {
        check(list, &["os_family", "os_version"], browser);
    }
}

#[test]
fn devices() {
    check("tests/test_device.yaml", &["device_family", "device_brand", "device_model"], |entry| {
        vec![family(&entry.family), entry.brand.clone(), entry.model.clone()]
    });
}

/// The agents of real logs, through the uap project's own engine with the regexes as they were published last.
#[test]
fn agents_of_access_logs() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let (logs, regexes) = (shared.join("logs/access"), shared.join("user-agent/regexes.yaml"));
    if !logs.exists() || !regexes.exists() {
        println!("skipped: {} is not here", shared.display());
        return;
    }
    let agents = agents(&logs);
    let text = std::fs::read_to_string(regexes).unwrap();
    let published: ua_parser::Regexes = serde_yaml_ng::from_str(&text).unwrap();
    let published = ua_parser::Extractor::try_from(published).unwrap();
    let agents: Vec<&str> = agents.iter().map(String::as_str).collect();
    let columns =
        ["ua_family", "ua_version", "os_family", "os_version", "device_family", "device_brand", "device_model"];
    let mut different = Vec::new();
    for (agent, got) in agents.iter().zip(enrich(&agents, &columns)) {
        let (browser, os, device) = published.extract(agent);
        let browser = browser.map(ua_parser::user_agent::ValueRef::into_owned).unwrap_or_default();
        let os = os.map(ua_parser::os::ValueRef::into_owned).unwrap_or_default();
        let device = device.map(ua_parser::device::ValueRef::into_owned).unwrap_or_default();
        let expected = vec![
            family(&browser.family),
            version([&browser.major, &browser.minor, &browser.patch, &browser.patch_minor]),
            family(&os.os),
            version([&os.major, &os.minor, &os.patch, &os.patch_minor]),
            family(&device.device),
            device.brand,
            device.model,
        ];
        if got != expected {
            different.push(format!("{agent}\n  is {got:?}, uap says {expected:?}"));
        }
    }
    println!(
        "{} of {} agents as uap says; these differ:\n{}",
        agents.len() - different.len(),
        agents.len(),
        different.join("\n")
    );
    assert!(agents.len() > 500, "{} agents", agents.len());
    // The regexes that come with the crate are some months older than those published last.
    assert!(different.len() * 50 < agents.len(), "{} of {} differ", different.len(), agents.len());
}

/// The last quoted text of each line, which in the combined format is the agent.
fn agents(folder: &Path) -> Vec<String> {
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    let mut agents = BTreeSet::new();
    for file in files {
        let unpacked = std::process::Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
        assert!(unpacked.status.success(), "{}: gzip -dc failed", file.display());
        for line in String::from_utf8_lossy(&unpacked.stdout).lines() {
            let quoted: Vec<&str> = line.split('"').collect();
            if let [.., agent, _] = quoted.as_slice()
                && *agent != "-"
                && quoted.len() >= 6
            {
                agents.insert((*agent).to_owned());
            }
        }
    }
    agents.into_iter().collect()
}
