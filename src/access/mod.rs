//! Who may come in, on whose behalf, and how much they may ask: keys and JSON Web Tokens.

pub mod caller;
pub mod keys;
