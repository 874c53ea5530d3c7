//! Tests of the dialects and their resource definitions.

mod definitions;
mod parsing;
mod rendering;
