//! however events are batched, the same ones are kept

use tidemill_plugin::split;

#[test]
fn where_a_batch_is_cut_makes_no_difference() {
    for settings in [
        r#"{ "rate": 5 }"#,
        r#"{ "rate": 1, "burst": 3, "key": ["key"] }"#,
        r#"{ "rate": 1, "per": "3s", "burst": 2, "key": ["key"], "keys_max": 4 }"#,
        r#"{ "rate": 2, "key": ["key"], "keys_max": 1, "always": [{ "field": "key", "is_null": true }] }"#,
    ] {
        split::filter::<rate_limit::RateLimit>(settings, split::events);
    }
}
