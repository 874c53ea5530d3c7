//! Tests of the image writers and the reader, from outside.

mod support;

mod kernel;
mod layers;
