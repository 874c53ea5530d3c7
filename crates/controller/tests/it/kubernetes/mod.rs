//! The controller as a whole, against API servers that are really spoken to.

mod cluster;
mod pods;
mod profiles;
mod scale;
mod scenarios;
