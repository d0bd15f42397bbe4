//! what every world shares, as wit-bindgen makes it of `wit/`: the types on the wire, and what a plugin imports

#![allow(missing_docs, clippy::all)]

pub use tidemill::plugin::{log, tables, types};

wit_bindgen::generate!({
    inline: "
        package tidemill:sdk;
        world sdk {
            import tidemill:plugin/types@0.1.0;
            import tidemill:plugin/log@0.1.0;
            import tidemill:plugin/tables@0.1.0;
        }
    ",
    path: "../../../../../wit",
    world: "tidemill:sdk/sdk",
    generate_all,
});
