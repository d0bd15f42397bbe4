//! SQL over hot rows and segments
