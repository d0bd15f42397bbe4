//! framing and wire formats
