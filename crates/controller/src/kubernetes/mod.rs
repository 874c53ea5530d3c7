//! The Kubernetes side: reconciles both ImageCache kinds against one provider.
