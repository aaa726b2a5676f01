//! What the operating system offers and no crate wraps safely. All `unsafe` is below here.
