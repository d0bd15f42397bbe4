//! the scrypt example: a server, a load, a view
