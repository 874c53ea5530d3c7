//! A small Kubernetes API server for standalone mode and tests.
