//! The resource definitions are what the vendors publish and what old API servers accept.

#[test]
fn print() {
    for crd in imagecache_k8s_api::crds() {
        println!("{}", serde_yaml_ng::to_string(&crd).unwrap());
    }
}
