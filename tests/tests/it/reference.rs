//! The two references that scenarios compare with agree on the images of the scenarios, where they are meant to.

use imagecache_tests::binary::tool;
use imagecache_tests::compare::{Rules, same_tree};
use imagecache_tests::containerd::Containerd;
use imagecache_tests::image::Images;
use imagecache_tests::registry::Registry;
use imagecache_tests::scenarios::images;

#[tokio::test]
#[ignore = "needs root, umoci and containerd"]
async fn umoci_and_containerd_agree() {
    let dir = tempfile::tempdir().expect("tempdir");
    let served = Images::of(&[
        ("basic", images::basic().expect("basic")),
        ("whiteouts", images::whiteouts().expect("whiteouts")),
    ]);
    let layout = dir.path().join("oci");
    served.write(&layout).expect("layout");
    let registry = Registry::serve(&served).await.expect("registry");
    let containerd = Containerd::start(dir.path()).await.expect("containerd");
    for tag in ["basic", "whiteouts"] {
        let mounted = containerd
            .mount(&registry.image(tag), &dir.path().join(format!("mount-{tag}")))
            .await
            .expect(tag);
        let bundle = dir.path().join(format!("bundle-{tag}"));
        tool(
            "umoci",
            &[
                "unpack",
                "--image",
                &format!("{}:{tag}", layout.display()),
                &bundle.to_string_lossy(),
            ],
        )
        .await
        .expect(tag);
        same_tree(
            ("umoci", &bundle.join("rootfs")),
            ("containerd", mounted.path()),
            Rules::EXACT,
        )
        .expect(tag);
    }
}
