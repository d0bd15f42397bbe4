//! however events are batched, the same ones are kept

use tidemill_plugin::split;

#[test]
fn where_a_batch_is_cut_makes_no_difference() {
    for settings in [
        r#"{ "fields": ["key"], "window": "1s" }"#,
        r#"{ "fields": ["key"], "window": "1s", "refresh": true }"#,
        r#"{ "fields": ["key"], "keys_max": 4 }"#,
        r#"{ "fields": ["key"], "keys_max": 6, "window": "2s", "refresh": true }"#,
    ] {
        split::filter::<deduplicate::Deduplicate>(settings, split::events);
    }
}
