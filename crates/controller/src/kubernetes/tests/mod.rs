//! Passes over one object, in scripted conversations with the API server.

mod lifecycle;
mod rig;
mod script;
mod trouble;
