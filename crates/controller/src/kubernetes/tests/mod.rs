//! Passes over one object, in scripted conversations with the API server.

mod answers;
mod lifecycle;
mod orphans;
mod rig;
mod script;
mod trouble;
