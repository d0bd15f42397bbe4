//! however events are batched, the same ones are kept

use tidemill_plugin::split;

#[test]
fn where_a_batch_is_cut_makes_no_difference() {
    for settings in [
        r#"{ "one_in": 3 }"#,
        r#"{ "ratio": 0.37 }"#,
        r#"{ "one_in": 2, "key": ["key"] }"#,
        r#"{ "ratio": 0.2, "key": ["key"], "always": [{ "field": "key", "ends_with": "7" }] }"#,
    ] {
        split::filter::<sample::Sample>(settings, split::events);
    }
}
