//! listeners, HTTP client, TLS
