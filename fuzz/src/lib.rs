//! What the fuzz targets share: what must hold whatever comes in, and what is made up of bytes.

pub mod answers;
pub mod clients;
pub mod errors;
pub mod json;
pub mod pieces;
pub mod streams;
pub mod turns;
