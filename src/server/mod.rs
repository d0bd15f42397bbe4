//! HTTP: routes, limits, access
