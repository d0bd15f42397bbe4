//! reads the TOML files into one checked Config
