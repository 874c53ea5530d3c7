//! Both ImageCache CRDs and both vendor dialects, to and from the domain types.
