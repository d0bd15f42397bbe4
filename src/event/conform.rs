//! a value that does not fit its column is widened or goes to a sibling column; nothing is lost
