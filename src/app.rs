//! builds every part from the config, runs them, drains
