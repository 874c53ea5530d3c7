//! The suite that every provider passes, and the in-memory provider it is checked on.
