//! Arbitrary answers of plugins, through the real boundary: whatever a plugin says becomes columns that are sound, or a fault.
//!
//! ```text
//! dice ─► an answer, nearly right ─ as it lies in memory, some bytes flipped ─► body of an event ─► a plugin whose answer *is* that body
//! ```
//!
//! An input that came to something new (another reason, other columns) is kept and mutated further. `tests/fuzz/` has one of each.
//!
//! ```sh
//! TIDEMILL_FUZZ_SECONDS=600 cargo test --test tidemill -- fuzz::   # longer; new inputs go to tests/fuzz/
//! ```

use crate::mill::Dice;
use crate::plugins::{configured, library};
use crate::zoo::PARSER;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill::clock::Clock;
use tidemill::event::{Batch, Kind};
use tidemill::pipeline::Manner;
use tidemill::pipeline::Stage;
use tidemill::plugin::autoscaler::Request;
use tidemill::plugin::{Configured, Instance, Library, Limits, World};
use tidemill::units::ByteSize;

/// Where the answer lies in the plugin's memory.
const ANSWER: u32 = 196_608;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 60_000;
const CORPUS: &str = "tests/fuzz";
const WORLDS: [World; 4] = [World::Parser, World::Filter, World::Enricher, World::Autoscaler];

/// An autoscaler that answers with the bytes of its state.
fn deciding(library: &Library) -> Instance {
    let called = format!(
        r#"(func (export "tidemill:plugin/autoscaling@0.1.0#decide") (param $request i32) (result i32)
             (global.set $free (i32.const 65536))
             (memory.copy (i32.const {ANSWER}) (i32.load offset=64 (local.get $request)) (i32.load offset=68 (local.get $request)))
             (i32.const {ANSWER})))"#
    );
    let (before, _) = PARSER.split_once("(func (export \"tidemill:plugin/parsing").unwrap();
    started(library, &(before.to_owned() + &called))
}

fn started(library: &Library, text: &str) -> Instance {
    let plugin = library.load("parrot", "fuzz", &wat::parse_str(text).unwrap()).unwrap();
    let limits = Limits { output: ByteSize(1 << 20), state: ByteSize(1 << 10), ..Limits::default() };
    Instance::new(library.engine(), Configured { limits, ..configured(plugin, "{}") }).unwrap()
}

/// What a tick comes to.
fn tick(instance: &mut Instance, answer: &[u8]) -> String {
    let state = answer[..answer.len().min(ANSWER_BYTES_MAX)].to_vec();
    let request = Request {
        now: 1,
        workload: "web".into(),
        replicas: 2,
        ready: 1,
        min: 1,
        max: 9,
        members: Vec::new(),
        signals: Vec::new(),
        decisions: Vec::new(),
        advice: Vec::new(),
        state,
    };
    match instance.decide(&request) {
        Ok(proposal) => {
            assert!(proposal.state.len() <= 1 << 10);
            assert!(proposal.reason.len() < 6000, "{}", proposal.reason);
            format!("1 0 {}{}: ", proposal.reason.is_empty(), proposal.state.is_empty())
        }
        Err(fault) => {
            assert!(fault.message.len() < 6000, "{fault:?}");
            format!("0 1 : {:?} {}", fault.kind, words(&fault.message))
        }
    }
}

/// A plugin that answers with the bytes of its first row.
fn parrot(library: &Library, world: World, clock: &Clock) -> Stage {
    let called = format!(
        "(memory.copy (i32.const {ANSWER}) (i32.load offset=20 (local.get $columns))
           (select (i32.const {ANSWER_BYTES_MAX}) (i32.load offset=24 (local.get $columns))
             (i32.gt_u (i32.load offset=24 (local.get $columns)) (i32.const {ANSWER_BYTES_MAX}))))
         (return (i32.const {ANSWER}))\n"
    );
    // An open schema and state.
    let settings = "(i32.store16 (i32.const 2068) (i32.const 0x0101))\n";
    let export = match world {
        World::Filter => "filtering@0.1.0#keep",
        World::Enricher => "enriching@0.1.0#enrich",
        _ => "parsing@0.1.0#parse",
    };
    let text = PARSER.replace(";; CALLED\n", &called).replace(";; CONFIGURED\n", settings);
    let instance = started(library, &text.replace("parsing@0.1.0#parse", export));
    Stage::new("parrot", Manner::default(), instance, clock.clone(), None)
}

/// Events whose first is the answer; the others give it rows to speak of.
fn events(answer: &[u8], rows: usize) -> Batch {
    let bodies = (0..rows).map(|row| match row {
        0 => Some(answer),
        1 => None,
        _ => Some(&b"caf\xc3\xa9"[..]),
    });
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("body", Arc::new(BinaryArray::from_iter(bodies))),
        ("source", Arc::new(StringArray::from_iter_values((0..rows).map(|_| "fuzz")))),
        ("n", Arc::new(Int64Array::from_iter((0..rows).map(|row| (row != 2).then_some(row as i64))))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Batch { kind: Kind::Logs, columns: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap() }
}

/// Runs it, holds what came out against what must always be true, and answers what it came to, in words without figures.
fn run(stage: &mut Stage, rows: usize, answer: &[u8]) -> String {
    let batch = events(answer, rows);
    let outcome = match stage.run(&batch) {
        Ok(outcome) => outcome,
        Err(error) => return format!("not taken: {error}"),
    };
    let mut shape = String::new();
    for batch in &outcome.batches {
        let columns = &batch.columns;
        for (field, column) in columns.schema_ref().fields().iter().zip(columns.columns()) {
            assert_eq!(column.len(), columns.num_rows());
            column.to_data().validate_full().unwrap_or_else(|error| panic!("{}: {error}", field.name()));
            assert!(column.get_buffer_memory_size() < 16 << 20, "{}", field.name());
            if let DataType::Utf8 = field.data_type() {
                assert!(column.as_string::<i32>().iter().flatten().all(|text| !text.is_empty() || text.is_ascii()));
            }
            if !["body", "source", "n"].contains(&field.name().as_str()) {
                shape += &format!(" {:?}{}", field.data_type(), if column.null_count() > 0 { "?" } else { "" });
            }
        }
    }
    assert!(stage.state().is_none_or(|state| state.len() <= 1 << 10));
    let reason = outcome.casualties.first().map(|casualty| casualty.reason.as_str()).unwrap_or_default();
    assert!(outcome.casualties.iter().all(|casualty| casualty.reason.len() < 6000), "{reason}");
    format!("{} {} {shape}: {}", outcome.batches.len(), outcome.casualties.len().min(3), words(reason))
}

/// A reason without what the plugin chose of it: names, which are in backticks, figures, and words of its own.
fn words(reason: &str) -> String {
    let ours = [
        "its answer",
        "it used",
        "it needed",
        "it moved",
        "it called",
        "it panicked",
        "it refused",
        "an access",
        "the stack",
    ];
    if !reason.is_empty() && !ours.iter().any(|begin| reason.starts_with(begin)) {
        return "the plugin's own".to_owned();
    }
    let letters = reason.split('`').step_by(2).flat_map(str::chars);
    letters.filter(|c| c.is_ascii_alphabetic() || *c == ' ').take(120).collect()
}

/// An answer in the making: what it consists of lies behind its root.
struct Answer<'a> {
    dice: &'a mut Dice,
    rows: u32,
    bytes: Vec<u8>,
}

impl Answer<'_> {
    /// Nearly right: each part is wrong now and then.
    fn of(dice: &mut Dice, world: World, rows: usize) -> Vec<u8> {
        let mut answer = Answer { dice, rows: rows as u32, bytes: vec![0; 64] };
        if answer.rarely() {
            answer.bytes[0] = 1;
        }
        let rows = answer.rows;
        match world {
            World::Autoscaler => {
                answer.put(4, rows);
                answer.text(8);
                let length = [0, 5, 1024, 1025][answer.dice.below(4) as usize];
                answer.list(16, length, &vec![7; length as usize]);
            }
            World::Filter => {
                let keep = (0..answer.nearly(rows)).map(|row| (row % 3) as u8).collect::<Vec<_>>();
                answer.list(4, keep.len() as u32, &keep);
                answer.errors(12);
                answer.state(20);
            }
            World::Enricher => {
                answer.columns(4, rows);
                answer.errors(12);
                answer.state(20);
            }
            _ => {
                let out = if answer.dice.below(3) == 0 { answer.nearly(rows) } else { rows };
                let (out, origin) = match answer.dice.below(3) {
                    0 => (answer.nearly(9), true),
                    _ => (out, false),
                };
                answer.put(4, out);
                answer.columns(8, out);
                if origin {
                    answer.bytes[16] = 1;
                    let from: Vec<u32> = (0..answer.nearly(out)).map(|_| answer.row()).collect();
                    answer.words(20, &from);
                }
                answer.errors(28);
                answer.state(36);
            }
        }
        answer.bytes
    }

    fn rarely(&mut self) -> bool {
        self.dice.below(24) == 0
    }

    fn nearly(&mut self, number: u32) -> u32 {
        match self.dice.below(40) {
            0 => number + 1,
            1 => number.saturating_sub(1),
            2 => [0, 1, 255, 65_536, u32::MAX, i32::MAX as u32][self.dice.below(6) as usize].min(5000),
            _ => number,
        }
    }

    fn row(&mut self) -> u32 {
        let rows = u64::from(self.rows.max(1));
        let row = self.dice.below(rows) as u32;
        self.nearly(row)
    }

    fn put(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// A list of so many that lie in these bytes.
    fn list(&mut self, at: usize, length: u32, bytes: &[u8]) {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        let place = ANSWER + self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        let (place, length) = match self.dice.below(200) {
            0 => (place.wrapping_sub(1 << 20), length),
            1 => (place + 1, length),
            2 => (place, length.wrapping_mul(7)),
            3 => (place, u32::MAX),
            _ => (place, length),
        };
        self.put(at, place);
        self.put(at + 4, length);
    }

    fn words(&mut self, at: usize, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.list(at, words.len() as u32, &bytes);
    }

    /// Room for so many records, and where it is.
    fn room(&mut self, at: usize, count: u32, size: usize) -> usize {
        self.list(at, count, &vec![0; count as usize * size]);
        self.bytes.len() - count as usize * size
    }

    fn errors(&mut self, at: usize) {
        let count = if self.dice.below(3) == 0 { self.dice.below(4) as u32 } else { 0 };
        let room = self.room(at, count, 12);
        for error in 0..count as usize {
            let row = self.row();
            self.put(room + 12 * error, row);
            self.text(room + 12 * error + 4);
        }
    }

    fn state(&mut self, at: usize) {
        if self.dice.below(4) == 0 {
            self.bytes[at] = 1;
            let length = [0, 5, 1024, 1025][self.dice.below(4) as usize];
            self.list(at + 4, length, &vec![7; length as usize]);
        }
    }

    fn text(&mut self, at: usize) {
        let texts: [&[u8]; 9] =
            [b"", b"a", b"b", b"timestamp", b"labels.x", b"body", b"caf\xc3\xa9", b"\xff\xfe", &[b'n'; 1500]];
        let text = texts[self.dice.below(texts.len() as u64) as usize];
        self.list(at, text.len() as u32, text);
    }

    fn columns(&mut self, at: usize, rows: u32) {
        let count = self.dice.below(4) as u32;
        // name, values, validity: 8 + 4 + 24 + 12
        let room = self.room(at, count, 48);
        for column in 0..count as usize {
            self.column(room + 48 * column, rows);
        }
    }

    fn column(&mut self, at: usize, rows: u32) {
        self.text(at);
        let case = self.dice.below(9) as u8;
        self.bytes[at + 8] = case;
        let (payload, count) = (at + 12, self.nearly(rows));
        match case {
            0 => {
                let bytes: Vec<u8> = (0..count).map(|row| (row % 3) as u8).collect();
                self.list(payload, count, &bytes);
            }
            1..=3 => {
                let number = |row: u32| [0, u64::MAX, 1 << 63, 0x7ff8_0000_0000_0001, u64::from(row)][row as usize % 5];
                let bytes: Vec<u8> = (0..count).flat_map(|row| number(row).to_le_bytes()).collect();
                self.list(payload, count, &bytes);
            }
            4 | 5 => self.var_bytes(payload, count),
            6 => {
                let distinct = 1 + self.dice.below(3) as u32;
                let indices: Vec<u32> = (0..count).map(|row| self.nearly(row % distinct)).collect();
                self.words(payload, &indices);
                self.var_bytes(payload + 8, distinct);
            }
            _ => {
                self.text(payload);
                if self.dice.below(2) == 0 {
                    self.list(payload, 4, b"body");
                }
                let spans: Vec<u32> = (0..2 * count)
                    .map(|_| match self.dice.below(8) {
                        0 => 200_000,
                        1 => u32::MAX,
                        _ => self.dice.below(40) as u32,
                    })
                    .collect();
                self.words(payload + 8, &spans);
                self.list(payload + 16, 7, b"extra\xc3\xa9");
            }
        }
        if self.dice.below(3) == 0 {
            self.bytes[at + 36] = 1;
            let nulls: Vec<u8> = (0..self.nearly(rows)).map(|row| (row % 2) as u8).collect();
            self.list(at + 40, nulls.len() as u32, &nulls);
        }
    }

    fn var_bytes(&mut self, at: usize, count: u32) {
        let data: &[u8] = if self.rarely() { b"\xff\xfe\xc3" } else { b"caf\xc3\xa9 and more" };
        let step = [0, 0, 1, 3, 5][self.dice.below(5) as usize];
        let mut offsets: Vec<u32> = (0..=count).map(|row| (row * step).min(data.len() as u32)).collect();
        if self.rarely() {
            offsets.reverse();
        }
        if let Some(last) = offsets.last_mut().filter(|_| self.dice.below(40) == 0) {
            *last = [999, u32::MAX, 1 << 31][self.dice.below(3) as usize];
        }
        self.words(at, &offsets);
        self.list(at + 8, data.len() as u32, data);
    }
}

fn mutated(dice: &mut Dice, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(4) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5) as usize],
            2 => drop(bytes.splice(at..at, [0, 0, 0, 0])),
            _ => bytes.truncate(at.max(48)),
        }
    }
    bytes
}

/// A plugin of each world, and the clock they hold their breakers against.
struct Parrots {
    stages: [Stage; 3],
    autoscaler: Instance,
    clock: Clock,
}

impl Parrots {
    fn new() -> Parrots {
        let (library, clock) = (library(), Clock::held(0));
        let [parser, filter, enricher, _] = WORLDS;
        let stages = [parser, filter, enricher].map(|world| parrot(&library, world, &clock));
        Parrots { stages, autoscaler: deciding(&library), clock }
    }

    /// The world and the number of rows stand before the answer's bytes.
    fn replay(&mut self, input: &[u8]) -> String {
        let [world, rows, answer @ ..] = input else { return String::new() };
        let world = usize::from(*world) % WORLDS.len();
        // No breaker stays open.
        self.clock.advance(Duration::from_secs(61));
        let outcome = match self.stages.get_mut(world) {
            Some(stage) => run(stage, 1 + usize::from(*rows) % 8, answer),
            None => tick(&mut self.autoscaler, answer),
        };
        format!("{}: {outcome}", WORLDS[world].word())
    }
}

/// An outcome without all columns but the first: of those that only differ further on, one is kept.
fn brief(outcome: &str) -> String {
    let (made, words) = outcome.rsplit_once(": ").unwrap_or_default();
    let made: Vec<&str> = made.split_whitespace().collect();
    format!("{} {} {words}", made.first().unwrap_or(&""), made.get(3).unwrap_or(&""))
}

fn corpus() -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = glob::glob(&format!("{CORPUS}/*.bin")).unwrap().flatten();
    files.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

#[test]
fn answers_that_were_found_are_survived() {
    let (corpus, mut parrots) = (corpus(), Parrots::new());
    assert!(corpus.len() >= 20, "{} inputs in {CORPUS}", corpus.len());
    for (file, input) in corpus {
        println!("{}: {}", file.display(), parrots.replay(&input));
    }
}

#[test]
fn arbitrary_answers_become_columns_or_faults() {
    let seconds: Option<u64> = std::env::var("TIDEMILL_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (mut parrots, mut dice) = (Parrots::new(), Dice::new());
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (_, input) in corpus() {
        found.insert(parrots.replay(&input), input);
    }
    let (known, began, mut turns) = (found.len(), Instant::now(), 0u64);
    while began.elapsed() < Duration::from_secs(seconds.unwrap_or(3)) {
        turns += 1;
        let input = match found.is_empty() || dice.below(2) == 0 {
            true => {
                // A batch of one is judged at once; a larger one is halved until it is one.
                let (world, rows) = (dice.below(4) as u8, (dice.below(2) * dice.below(8)) as u8);
                let answer = Answer::of(&mut dice, WORLDS[usize::from(world)], 1 + usize::from(rows));
                let answer = if dice.below(4) == 0 { mutated(&mut dice, &answer) } else { answer };
                [vec![world, rows], answer].concat()
            }
            false => {
                let kept = found.values().nth(dice.below(found.len() as u64) as usize).cloned().unwrap_or_default();
                mutated(&mut dice, &kept)
            }
        };
        // A crash of the process leaves the input behind.
        if seconds.is_some() {
            std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("last-answer.bin"), &input).unwrap();
        }
        let outcome = parrots.replay(&input);
        found.entry(outcome).or_insert(input);
    }
    println!("{turns} answers, {} outcomes, {} of them new", found.len(), found.len() - known);
    assert!(turns > 0);
    for (outcome, input) in found.iter().filter(|_| seconds.is_some()) {
        let name = &tidemill::plugin::engine::sha256(brief(outcome).as_bytes())[..12];
        std::fs::write(format!("{CORPUS}/{name}.bin"), input).unwrap();
    }
}
