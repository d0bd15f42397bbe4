//! the graph of stages, checked before it runs
