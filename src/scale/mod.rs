//! the autoscaler loop
