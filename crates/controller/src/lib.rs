//! The `imagecache` binary: command line, configuration, reconciler.
//!
//! `main.rs` parses the command line and hands over to [`commands`]. [`registry`] is the only place that names providers.

pub mod catalog;
pub mod cli;
pub mod commands;
pub mod config;
pub mod cost_config;
pub mod kubernetes;
pub mod output;
pub mod pods;
pub mod progress;
pub mod registry;
pub mod telemetry;
pub mod webhook;
