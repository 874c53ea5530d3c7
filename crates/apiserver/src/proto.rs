//! The OpenAPI v2 document in protobuf, as older clients of Kubernetes ask for it.
