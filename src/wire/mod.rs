//! What all wires have in common: reading a body so that an error names its field, and what nobody reads is reported.

pub mod parse;
mod strict;
pub mod text_or;
mod value_count;
