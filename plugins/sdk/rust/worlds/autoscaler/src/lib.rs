//! the world `autoscaler`, as wit-bindgen makes it of `wit/`
//!
//! Each world is a crate of its own because the macros that export an interface are named after it alone, and every
//! world exports `plugin`.

#![allow(missing_docs, clippy::all)]

pub use exports::tidemill::plugin::{autoscaling, plugin};

wit_bindgen::generate!({
    path: "../../../../../wit",
    world: "autoscaler",
    with: {
        "tidemill:plugin/types@0.1.0": tidemill_world_shared::types,
        "tidemill:plugin/log@0.1.0": tidemill_world_shared::log,
        "tidemill:plugin/tables@0.1.0": tidemill_world_shared::tables,
    },
    pub_export_macro: true,
});
