//! Registries that tests and the demo talk to, honest and lying.
