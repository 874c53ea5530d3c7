//! Tests of matching as a whole.

mod differential;
mod names;
mod support;
mod unit;
mod vendors;
