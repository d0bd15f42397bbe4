//! our own logs and metrics
