//! Registries and clouds that tests and the demo talk to, honest and lying, and images to put into them.
//!
//! A dev-dependency only. It shares no code with the crates it tests: a fake that did would agree with their bugs.

mod cloud;
pub mod ebs;
pub mod eci;
pub mod image;
pub mod registry;
pub mod tke;

pub use cloud::{BuildEnd, CacheView, Fake, Fault, Foreign, Pace, Vendor};
