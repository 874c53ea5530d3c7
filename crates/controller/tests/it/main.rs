//! Integration tests of the controller.

mod kubernetes;
