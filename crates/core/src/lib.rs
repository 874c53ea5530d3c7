//! The domain: image references, cache specs and states, the provider contract, planning.
