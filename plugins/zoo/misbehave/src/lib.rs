//! a parser that does what a host must survive; only tests of the host use it
//!
//! | a line with | does |
//! |---|---|
//! | `LOOP` | loops for ever |
//! | `ALLOC` | allocates without end |
//! | `PANIC` | panics |
//! | `DEEP` | overflows the stack |
//! | `CHATTER` | logs without end |
//! | `ASKING` | looks up without end |
//! | `GREEDY` | looks up a million keys at once |
//! | `HOARD` | keeps 40 MB more, and goes on |
//!
//! Any other line comes out as the column `line`. The setting `lie` makes the answer itself malformed: it stands on
//! the bare wire, because the SDK would not let such an answer out.

/// Natively there is nothing to misbehave against.
#[cfg(target_arch = "wasm32")]
mod component {
    use serde::Deserialize;
    use tidemill_plugin::worlds::parser::{parsing, plugin};
    use tidemill_plugin::{Texts, tables, wire};

    #[derive(Clone, Copy, Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        lie: Option<Lie>,
        /// Refuses its settings.
        refuse: bool,
        /// Panics in `configure`.
        panic: bool,
        /// Loops in `configure`.
        hang: bool,
    }

    #[derive(Clone, Copy, Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Lie {
        /// One row more than the column has.
        RowCount,
        /// Offsets that go back.
        Offsets,
        /// The last offset lies behind the data.
        OffsetsBeyond,
        /// The first offset is not 0.
        OffsetsStart,
        /// No offsets at all.
        OffsetsEmpty,
        /// Text that is not UTF-8.
        Utf8,
        /// Text cut inside a character.
        Utf8Cut,
        /// A dictionary index without a value.
        Index,
        /// Slices from behind the end of their column.
        SliceBeyond,
        /// Slices of a column that there is not.
        SliceOf,
        /// A start without a length.
        SliceCount,
        /// A column that is not in `writes`.
        Undeclared,
        /// A column of another type than declared.
        Type,
        /// The same column twice.
        Twice,
        /// A validity that is too short.
        Validity,
        /// A boolean that is neither 0 nor 1.
        Boolean,
        /// A row from behind the input.
        Origin,
        /// An error for a row behind the input.
        ErrorRow,
        /// A column with 90 MB in it: more than an answer may have, less than the memory.
        Huge,
        /// Says it failed.
        Failure,
        /// State where the contract has none.
        State,
        /// State of 5 MB.
        StateHuge,
        /// A dictionary whose only value has a megabyte.
        DictionaryBomb,
        /// Slices that are all of `extra`, which has a megabyte.
        SliceBomb,
        /// Every row comes out a million times.
        OriginBomb,
        /// An error with a megabyte of reasons for each row.
        ErrorHuge,
        /// Six thousand columns.
        Columns,
        /// A name with a megabyte.
        NameHuge,
    }

    std::thread_local! {
        static SETTINGS: std::cell::Cell<Settings> = const {
            std::cell::Cell::new(Settings { lie: None, refuse: false, panic: false, hang: false })
        };
    }

    std::thread_local! {
        static HOARD: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }

    struct Component;

    impl plugin::Guest for Component {
        fn describe() -> plugin::Descriptor {
            plugin::Descriptor {
                name: "misbehave".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                about: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            }
        }

        fn configure(settings: String) -> Result<plugin::Contract, String> {
            let settings: Settings = serde_json::from_str(&settings).map_err(|error| error.to_string())?;
            if settings.refuse {
                return Err("`refuse` is true; leave it out".to_owned());
            }
            if settings.panic {
                panic!("as the settings say");
            }
            if settings.hang {
                for_ever();
            }
            SETTINGS.set(settings);
            let line = plugin::Field { name: "line".to_owned(), data_type: wire::DataType::Utf8 };
            Ok(plugin::Contract {
                reads: vec!["body".to_owned()],
                writes: vec![line],
                open_schema: false,
                keeps_state: false,
                produces: plugin::EventKind::Logs,
            })
        }
    }

    impl parsing::Guest for Component {
        fn parse(input: wire::Batch, _: wire::Context) -> Result<parsing::Parsed, String> {
            let bodies = match input.columns.into_iter().next().map(|column| column.values) {
                Some(wire::Values::Utf8(bodies) | wire::Values::Binary(bodies)) => bodies,
                _ => wire::VarBytes { offsets: vec![0; input.rows as usize + 1], data: Vec::new() },
            };
            for pair in bodies.offsets.windows(2) {
                obey(&bodies.data[pair[0] as usize..pair[1] as usize]);
            }
            let line = column("line", wire::Values::Utf8(bodies));
            let answer =
                parsing::Parsed { rows: input.rows, columns: vec![line], origin: None, errors: vec![], state: None };
            match SETTINGS.get().lie {
                Some(lie) => tell(lie, answer),
                None => Ok(answer),
            }
        }
    }

    const MEGABYTE: u32 = 1 << 20;

    fn column(name: &str, values: wire::Values) -> wire::Column {
        wire::Column { name: name.to_owned(), values, validity: None }
    }

    fn obey(line: &[u8]) {
        let says = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
        if says(b"LOOP") {
            for_ever();
        }
        if says(b"ALLOC") {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        if says(b"PANIC") {
            panic!("a line said PANIC");
        }
        if says(b"DEEP") {
            std::hint::black_box(deeper(1));
        }
        if says(b"CHATTER") {
            loop {
                tidemill_plugin::log::debug("and another thing");
            }
        }
        if says(b"ASKING") {
            loop {
                let _ = std::hint::black_box(tables::columns("nothing"));
            }
        }
        if says(b"GREEDY") {
            let mut keys = Texts::with_rows(1_000_000, 60_000_000);
            (0..1_000_000).for_each(|_| keys.push([b'k'; 60]));
            let _ = std::hint::black_box(tables::lookup("nothing", "key", keys, &[]));
        }
        if says(b"HOARD") {
            HOARD.with_borrow_mut(|hoard| hoard.extend(vec![1u8; 40 << 20]));
        }
    }

    fn for_ever() {
        let mut turns = 0u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }

    #[allow(unconditional_recursion)]
    fn deeper(depth: u64) -> u64 {
        let room = std::hint::black_box([depth; 64]);
        deeper(depth + 1) + std::hint::black_box(room)[depth as usize % 64]
    }

    fn tell(lie: Lie, mut answer: parsing::Parsed) -> Result<parsing::Parsed, String> {
        let rows = answer.rows;
        let before = match &answer.columns[0].values {
            wire::Values::Utf8(bodies) => bodies.data.len() as u32,
            _ => 0,
        };
        let text = |offsets: Vec<u32>, data: &[u8]| wire::Values::Utf8(wire::VarBytes { offsets, data: data.to_vec() });
        let slices =
            |of: &str, spans| wire::Values::SlicedUtf8(wire::Slices { of: of.to_owned(), spans, extra: Vec::new() });
        let each = |from: u32, step: u32| (0..=rows).map(|row| from + row * step).collect::<Vec<u32>>();
        let enough = vec![b'x'; 4 * (rows as usize + 1)];
        let line = &mut answer.columns[0];
        match lie {
            Lie::RowCount => answer.rows += 1,
            Lie::Offsets => line.values = text((0..=rows).rev().collect(), &enough),
            Lie::OffsetsBeyond => line.values = text(each(0, 1_000_000), &enough),
            Lie::OffsetsStart => line.values = text(each(1, 1), &enough),
            Lie::OffsetsEmpty => line.values = text(vec![], b""),
            Lie::Utf8 => line.values = text(each(0, 1), &vec![0xff; rows as usize]),
            Lie::Utf8Cut => {
                let data: Vec<u8> = b"\xc3\xa9".repeat(rows as usize);
                line.values = text((0..=rows).map(|row| if row == rows { 2 * rows } else { row }).collect(), &data);
            }
            Lie::Index => {
                let values = wire::VarBytes { offsets: vec![0, 1], data: b"x".to_vec() };
                line.values = wire::Values::DictUtf8(wire::Dictionary { indices: vec![7; rows as usize], values });
            }
            Lie::SliceBeyond => line.values = slices("body", vec![1 << 20, 1].repeat(rows as usize)),
            Lie::SliceOf => line.values = slices("nowhere", vec![0, 1].repeat(rows as usize)),
            Lie::SliceCount => line.values = slices("body", vec![0; 2 * rows as usize - 1]),
            Lie::Undeclared => answer.columns.push(column("surprise", wire::Values::Int64(vec![1; rows as usize]))),
            Lie::Type => line.values = wire::Values::Int64(vec![1; rows as usize]),
            Lie::Twice => {
                let again = line.clone();
                answer.columns.push(again);
            }
            Lie::Validity => line.validity = Some(vec![1; rows.saturating_sub(1) as usize]),
            Lie::Boolean => line.validity = Some(vec![7; rows as usize]),
            Lie::Origin => answer.origin = Some(vec![rows; rows as usize]),
            Lie::ErrorRow => answer.errors.push(wire::RowError { row: rows, message: "no such row".to_owned() }),
            Lie::Huge => {
                let size = 90_000_000 / rows.max(1);
                line.values = text(each(0, size), &vec![b'x'; (size * rows) as usize]);
            }
            Lie::Failure => return Err("as the settings say".to_owned()),
            Lie::State => answer.state = Some(b"unasked".to_vec()),
            Lie::StateHuge => answer.state = Some(vec![7; 5_000_000]),
            Lie::DictionaryBomb => {
                let values = wire::VarBytes { offsets: vec![0, MEGABYTE], data: vec![b'x'; MEGABYTE as usize] };
                line.values = wire::Values::DictUtf8(wire::Dictionary { indices: vec![0; rows as usize], values });
            }
            Lie::SliceBomb => {
                let extra = vec![b'x'; MEGABYTE as usize];
                let spans = [before, MEGABYTE].repeat(rows as usize);
                line.values = wire::Values::SlicedUtf8(wire::Slices { of: "body".to_owned(), spans, extra });
            }
            Lie::OriginBomb => {
                answer.columns.clear();
                answer.rows = rows * 1_000_000;
                answer.origin = Some((0..answer.rows).map(|row| row % rows).collect());
            }
            Lie::ErrorHuge => {
                answer.rows = 0;
                answer.columns.clear();
                let error = |row| wire::RowError { row, message: "é".repeat(MEGABYTE as usize / 2) };
                answer.errors = (0..rows).map(error).collect();
            }
            Lie::Columns => {
                let more = |at: u32| column(&format!("column{at}"), wire::Values::Int64(vec![1; rows as usize]));
                answer.columns.extend((0..6000).map(more));
            }
            Lie::NameHuge => line.name = "n".repeat(MEGABYTE as usize),
        }
        Ok(answer)
    }

    tidemill_plugin::worlds::parser::export!(Component with_types_in tidemill_plugin::worlds::parser);
}
