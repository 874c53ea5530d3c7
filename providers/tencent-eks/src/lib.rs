//! Image caches of Tencent Kubernetes Engine: the provider `tencent-eks`.
