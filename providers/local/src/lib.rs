//! The provider that does the whole job itself, with no cloud.
