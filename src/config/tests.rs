//! every mistake at its line, and a reference that names every key

use super::*;
use crate::codec::multiline;
use crate::net::{Limits as ListenLimits, Tls};
use crate::plugin::Limits;
use crate::source::{file, http, internal, processes, scrape, stdin};
use actuator::{exec, kubernetes, none, process, webhook};

fn mistakes(text: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    read_texts(&[(PathBuf::from("a.toml"), text.to_owned())], &|_| None, &mut mistakes);
    mistakes.iter().map(Mistake::to_string).collect()
}

#[test]
fn what_cannot_work_is_told_at_its_line_with_its_key() {
    let source = |lines: &str| format!("[sources.s]\n{lines}");
    let file = |line: &str| source(&format!("type = \"file\"\ninclude = [\"a\"]\n{line}"));
    let scaler = |line: &str| format!("[scalers.s]\nplugin = \"hpa\"\nworkload = \"w\"\nmax = 3\n{line}");
    let process = |line: &str| {
        format!("[workloads.w]\ntype = \"process\"\ncommand = [\"x\", \"{{port}}\"]\nports = \"9100\"\n{line}")
    };
    let stage = |line: &str| format!("[stages.s]\ntype = \"parser\"\ninputs = []\nplugin = \"json\"\n{line}");
    let cases = [
        ("[query]\ntimeout = \"0s\"".to_owned(), "2: query: `timeout`: `0s` is too little; write at least `10ms`"),
        ("[query]\n\nmemory = \"0B\"".to_owned(), "3: query: `memory`: `0B` is too little; write at least `1MiB`"),
        ("[query]\nrows_max = 0".to_owned(), "2: query: `rows_max`: `0` is too little; write at least `1`"),
        ("[query]\nconcurrent = 0".to_owned(), "2: query: `concurrent`: `0` is too little; write at least `1`"),
        ("[query]\nconcurrent = -1".to_owned(), "expected a whole number that is not negative"),
        ("[store]\nflush_age = \"0s\"".to_owned(), "2: store: `flush_age`: `0s` is too little"),
        (
            "[store]\nflush_bytes = \"1GiB\"".to_owned(),
            "2: store: `flush_bytes`: `1GiB` is too much; write at most `256MiB`",
        ),
        ("[server.limits]\npush_wait_max = \"0s\"".to_owned(), "2: server: `limits.push_wait_max`: `0s` is too little"),
        (
            "[server]\nlimits = { head_max = \"1KiB\" }".to_owned(),
            "2: server: `limits.head_max`: `1KiB` is too little; write at least `8KiB`",
        ),
        ("[server]\ntoken_file = \"no/such\"".to_owned(), "2: `no/such`: cannot read the secret: No such file"),
        (
            "[server]\ntls = { cert = \"no.pem\", key = \"k\" }".to_owned(),
            "2: `no.pem`: cannot read it for TLS: No such file",
        ),
        (file("line_bytes_max = \"0B\""), "4: sources.s: `line_bytes_max`: `0B` is too little; write at least `1B`"),
        (file("files_max = 0"), "4: sources.s: `files_max`: `0` is too little; write at least `1`"),
        (file("poll = \"0s\""), "4: sources.s: `poll`: `0s` is too little; write at least `1ms`"),
        (file("rotate_wait = \"0s\""), "4: sources.s: `rotate_wait`: `0s` is too little"),
        (file("exclude = \"b\""), "expected a list"),
        (
            source("type = \"http\"\nwait_max = 30"),
            "3: sources.s: `wait_max`: `30` is not a span of time; write it in quotes with its unit, like `\"30s\"`",
        ),
        (
            source("type = \"http\"\nbody_bytes_max = \"2GiB\""),
            "3: sources.s: `body_bytes_max`: `2GiB` is too much; write at most `1GiB`",
        ),
        (source("type = \"stdin\"\nline_bytes_max = 1024"), "`1024` is not a size; write it in quotes with its unit"),
        (
            source("type = \"scrape\"\nworkload = \"w\"\nevery = \"0s\""),
            "4: sources.s: `every`: `0s` is too little; write at least `100ms`",
        ),
        (
            source("type = \"scrape\"\nworkload = \"w\"\ntimeout = \"0s\""),
            "4: sources.s: `timeout`: `0s` is too little",
        ),
        (
            source("type = \"scrape\"\nworkload = \"w\"\nsamples_max = 0"),
            "4: sources.s: `samples_max`: `0` is too little",
        ),
        (
            source("type = \"scrape\"\nworkload = \"w\"\nbytes_max = \"0B\""),
            "4: sources.s: `bytes_max`: `0B` is too little",
        ),
        (source("type = \"processes\"\nevery = \"0s\""), "3: sources.s: `every`: `0s` is too little"),
        (source("type = \"internal\"\nevery = \"20y\""), "3: sources.s: `every`: `20y` is longer than ten years"),
        (scaler("every = \"0s\""), "5: scalers.s: `every`: `0s` is too little; write at least `100ms`"),
        (scaler("up_max = 0"), "5: scalers.s: `up_max`: `0` is too little; write at least `1`"),
        (scaler("down_max = -1"), "5: scalers.s: `down_max`: invalid value: integer `-1`"),
        (scaler("limits = { memory = \"1B\" }"), "5: scalers.s: `limits.memory`: `1B` is too little"),
        (stage("limits = { time = \"0s\" }"), "5: stages.s: `limits.time`: `0s` is too little; write at least `1ms`"),
        (stage("limits.table_elements = 0"), "5: stages.s: `limits.table_elements`: `0` is too little"),
        (process("health_every = \"0s\""), "5: workloads.w: `health_every`: `0s` is too little; write at least `10ms`"),
        (process("start_timeout = \"0s\""), "5: workloads.w: `start_timeout`: `0s` is too little"),
        (process("connections_max = 0"), "5: workloads.w: `connections_max`: `0` is too little"),
        (process("cpu = 0.5"), "`0.5` is not a share of a core; write it in quotes with its unit, like `\"0.5\"`"),
        ("# nothing".to_owned(), "1: there is nothing to run in it; write a source and a table"),
        ("[server]".to_owned(), "1: there is nothing to run in it"),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .map(|(text, says)| (text, says, mistakes(text)))
        .filter(|(_, says, told)| !told.iter().any(|told| told.starts_with("a.toml:") && told.contains(*says)))
        .map(|(text, says, told)| format!("{text}\n  wanted {says}\n  told {told:?}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    // A drain, a cooldown may be none.
    assert_eq!(mistakes(&process("drain = \"0s\"")), [""; 0]);
    assert_eq!(mistakes(&scaler("cooldown = \"0s\"")), [""; 0]);
}

#[test]
fn every_mistake_of_a_part_is_told() {
    let told = mistakes("[sources.Web2]\ntype = \"fil\"\n[query]\ntimeout = \"0s\"\nmemory = 5\nrows = 1");
    let wanted =
        ["a.toml:4: ", "a.toml:5: ", "a.toml:6: ", "a.toml:1: sources.Web2: `Web2` cannot be a name", "a.toml:2: "];
    for says in wanted {
        assert!(told.iter().any(|told| told.starts_with(says)), "{says}: {told:?}");
    }
    assert_eq!(told.len(), wanted.len(), "{told:?}");
}

#[test]
fn a_table_is_not_blamed_for_a_key_of_it_that_is_wrong() {
    for key in ["multiline.start = '('", "multiline.languages = 'jave'", "multiline.strat = 'x'"] {
        let told = mistakes(&format!("[sources.s]\ntype = \"stdin\"\n{key}"));
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

/// The keys of a table, which serde lists when it meets one that there is not.
fn keys<T: for<'de> Deserialize<'de>>() -> Vec<String> {
    let error = match toml::from_str::<T>("\"no such key\" = 1") {
        Ok(_) => panic!("unknown keys are taken"),
        Err(error) => error.message().to_owned(),
    };
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// The rows of the reference below a heading: the keys of their first cells.
fn told(reference: &str, heading: &str) -> Vec<String> {
    let start = reference.find(&format!("\n{heading}")).unwrap_or_else(|| panic!("no heading {heading}")) + 1;
    let depth = heading.chars().take_while(|c| *c == '#').count();
    let above = |line: &&str| !(line.starts_with('#') && line.chars().take_while(|c| *c == '#').count() <= depth);
    let lines = reference[start..].lines().skip(1).take_while(above);
    let cells = lines.filter_map(|line| line.strip_prefix('|')?.split(" |").next().map(str::to_owned));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_reference_names_every_key() {
    let reference = include_str!("../../pipelines/README.md");
    let tables: Vec<(&str, Vec<String>)> = vec![
        ("## `[server]`", keys::<Listen>()),
        ("## `[server]`", keys::<ListenLimits>()),
        ("## `[store]`", keys::<StoreConfig>()),
        ("## `[query]`", keys::<QueryConfig>()),
        ("### `type = \"file\"`", keys::<file::Config>()),
        ("### `type = \"stdin\"`", keys::<stdin::Config>()),
        ("### `type = \"http\"`", keys::<http::Config>()),
        ("### `multiline`", keys::<multiline::Config>()),
        ("### `type = \"scrape\"`", keys::<scrape::Config>()),
        ("### `type = \"processes\"`", keys::<processes::Config>()),
        ("### `type = \"internal\"`", keys::<internal::Config>()),
        ("## `[stages.<name>]`", keys::<StageConfig>()),
        ("## `[stages.<name>]`", keys::<Limits>()),
        ("## `[tables.<name>]`", keys::<TableConfig>()),
        ("## `[scalers.<name>]`", keys::<ScalerConfig>()),
        ("### `type = \"process\"`", keys::<process::Config>()),
        ("### `type = \"webhook\"`", keys::<webhook::Config>()),
        ("### `type = \"exec\"`", keys::<exec::Config>()),
        ("### `type = \"none\"`", keys::<none::Config>()),
        ("### `type = \"kubernetes\"`", keys::<kubernetes::Config>()),
    ];
    let mut missing = Vec::new();
    for (heading, keys) in &tables {
        let told = told(reference, heading);
        let is_told = |key: &str| told.iter().any(|told| told.split('.').next() == Some(key));
        missing.extend(keys.iter().filter(|key| !is_told(key)).map(|key| format!("{heading}: `{key}`")));
    }
    // `{ cert = …, key = … }` stands in a sentence.
    missing.extend(keys::<Tls>().into_iter().filter(|key| !reference.contains(&format!("{key} = "))));
    let kinds =
        source::SOURCES.iter().map(|source| source.name).chain(actuator::ACTUATORS.iter().map(|kind| kind.name));
    for kind in kinds {
        let heading = format!("### `type = \"{kind}\"`");
        let known = tables.iter().any(|(of, _)| *of == heading) && reference.contains(&heading);
        missing.extend((!known).then_some(heading));
    }
    missing.extend(
        SECTIONS.iter().filter(|name| !reference.contains(&format!("## `[{name}"))).map(|name| name.to_string()),
    );
    assert!(missing.is_empty(), "pipelines/README.md does not tell of:\n{}", missing.join("\n"));
}
