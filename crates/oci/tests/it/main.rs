//! The puller against registries that are honest, broken or lying.

mod auth;
mod faults;
mod files;
mod hosts;
mod images;
mod real;
mod support;
