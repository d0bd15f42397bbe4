//! a parser that says which version it is, and that a test changes while it runs; only tests of the host use it
//!
//! A test makes versions of it by writing over [`MARK`] in the `.wasm`: four digits and a mode.
//!
//! | mode | does |
//! |---|---|
//! | `plain` | writes its number as the column `version` of every event |
//! | `slow` | the same with three times the work |
//! | `trap` | panics at events whose `id` ends with 07 |
//! | `drop` | cannot handle events whose `id` ends with 3 |
//! | `count` | keeps state: `version` is how many events it has seen |
//! | `other` | keeps state that is written in another way, and panics on that of `count` |

/// Natively there is nothing to change.
#[cfg(target_arch = "wasm32")]
mod component {
    use std::hint::black_box;
    use tidemill_plugin::wire;
    use tidemill_plugin::worlds::parser::{parsing, plugin};

    static MARK: [u8; 32] = *b"tidemill-changeling:0000:plain--";
    /// Turns of a loop for an event: enough that the call's own cost is small beside it.
    const WORK: u32 = 20_000;

    struct Component;

    fn number() -> i64 {
        black_box(&MARK)[20..24].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    }

    fn is(mode: &str) -> bool {
        black_box(&MARK)[25..].starts_with(mode.as_bytes())
    }

    impl plugin::Guest for Component {
        fn describe() -> plugin::Descriptor {
            plugin::Descriptor {
                name: "changeling".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                about: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            }
        }

        fn configure(settings: String) -> Result<plugin::Contract, String> {
            if settings.contains("refuse") {
                return Err("`refuse` is there; leave it out".to_owned());
            }
            let version = plugin::Field { name: "version".to_owned(), data_type: wire::DataType::Int64 };
            Ok(plugin::Contract {
                reads: vec!["id".to_owned()],
                writes: vec![version],
                open_schema: false,
                keeps_state: is("count") || is("other"),
                produces: plugin::EventKind::Logs,
            })
        }
    }

    impl parsing::Guest for Component {
        fn parse(input: wire::Batch, context: wire::Context) -> Result<parsing::Parsed, String> {
            let ids = match input.columns.into_iter().next().map(|column| column.values) {
                Some(wire::Values::Int64(ids)) => ids,
                _ => vec![0; input.rows as usize],
            };
            let (mut seen, state) = match (is("count"), is("other")) {
                (false, false) => (0, None),
                (_, other) => (read(context.state.as_deref(), other), Some(other)),
            };
            let (mut versions, mut errors) = (Vec::new(), Vec::new());
            for (row, id) in (0u32..).zip(&ids) {
                work(if is("slow") { 3 * WORK } else { WORK });
                if is("trap") && id % 100 == 7 {
                    panic!("the id ends with 07");
                }
                if is("drop") && id % 10 == 3 {
                    errors.push(wire::RowError { row, message: "the id ends with 3".to_owned() });
                    continue;
                }
                seen += 1;
                versions.push(if state.is_some() { seen } else { number() });
            }
            Ok(parsing::Parsed {
                rows: versions.len() as u32,
                columns: vec![wire::Column {
                    name: "version".to_owned(),
                    values: wire::Values::Int64(versions),
                    validity: None,
                }],
                origin: None,
                errors,
                state: state.map(|other| format!("{}{seen}", if other { "other " } else { "count " }).into_bytes()),
            })
        }
    }

    fn work(turns: u32) {
        let mut sum = 0u32;
        for turn in 0..turns {
            sum = black_box(sum.wrapping_add(turn));
        }
    }

    fn read(state: Option<&[u8]>, other: bool) -> i64 {
        let Some(state) = state else { return 0 };
        let text = std::str::from_utf8(state).expect("state is text");
        let word = if other { "other " } else { "count " };
        text.strip_prefix(word).and_then(|count| count.parse().ok()).expect("state of another kind")
    }

    tidemill_plugin::worlds::parser::export!(Component with_types_in tidemill_plugin::worlds::parser);
}
