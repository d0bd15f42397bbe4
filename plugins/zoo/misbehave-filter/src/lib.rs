//! a filter that does what a host must survive; only tests of the host use it
//!
//! A row with `LOOP` loops for ever, one with `PANIC` panics. `SHORT` makes the mask one byte too short, `LONG` one
//! too long, `TWO` puts a 2 into it.

/// Natively there is nothing to misbehave against.
#[cfg(target_arch = "wasm32")]
mod component {
    use tidemill_plugin::worlds::filter::{filtering, plugin};
    use tidemill_plugin::{Batch, wire};

    struct Component;

    impl plugin::Guest for Component {
        fn describe() -> plugin::Descriptor {
            plugin::Descriptor {
                name: "misbehave-filter".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                about: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            }
        }

        fn configure(_: String) -> Result<plugin::Contract, String> {
            Ok(plugin::Contract {
                reads: vec!["body".to_owned()],
                writes: vec![],
                open_schema: false,
                keeps_state: false,
                produces: plugin::EventKind::Logs,
            })
        }
    }

    impl filtering::Guest for Component {
        fn keep(input: wire::Batch, _: wire::Context) -> Result<filtering::Kept, String> {
            let input = Batch::from(input);
            let mut keep = vec![1; input.rows()];
            for body in input.text("body")?.iter().flatten() {
                match body.as_ref() {
                    "LOOP" => loop {
                        std::hint::black_box(&keep);
                    },
                    "PANIC" => panic!("a row said PANIC"),
                    "SHORT" => keep.truncate(input.rows().saturating_sub(1)),
                    "LONG" => keep.resize(input.rows() + 1, 1),
                    "TWO" => keep.fill(2),
                    _ => {}
                }
            }
            Ok(filtering::Kept { keep, errors: vec![], state: None })
        }
    }

    tidemill_plugin::worlds::filter::export!(Component with_types_in tidemill_plugin::worlds::filter);
}
