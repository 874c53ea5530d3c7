//! What the tests share: a puller that does not wait long, and ways to read a whole image.

use std::io::Read;
use std::time::Duration;

use imagecache_core::{Error, Platform};
use imagecache_fakes::image::{Compression, Image, Layer, LayerBuilder};
use imagecache_oci::{
    HostsConfig, ImageSource, Keyring, LayerOptions, Puller, ResolvedImage, RetryPolicy, Session, SessionOptions,
    error_from_io,
};

/// Large enough to be cut, resumed and skipped in.
pub const FILE_BYTES: usize = 700_000;

/// Retries that a test can wait for.
pub fn quick_retry() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        base_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(5),
        max_retry_after: Duration::from_secs(5),
        // A busy machine may not run a test for a second; that must not look like a stall.
        stall_timeout: Duration::from_millis(1500),
    }
}

pub fn puller() -> Puller {
    Puller::new(HostsConfig::default(), Keyring::default()).with_retry(quick_retry())
}

pub fn session() -> Session {
    puller().session(SessionOptions::default())
}

pub fn amd64() -> Platform {
    Platform::linux("amd64")
}

/// Bytes that do not compress to nothing, always the same for one seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(length)
    .collect()
}

pub fn layer(seed: u64, compression: Compression) -> Layer {
    LayerBuilder::new()
        .dir("etc", 0o755)
        .file(&format!("etc/{seed}"), &noise(seed, FILE_BYTES), 0o644)
        .build(compression)
}

pub fn one_layer_image() -> Image {
    Image::new(vec![layer(1, Compression::Gzip)])
}

pub async fn resolve(session: &Session, reference: &str) -> Result<ResolvedImage, Error> {
    session.resolve(&reference.parse::<ImageSource>()?, &amd64()).await
}

/// Reads a layer to its verified end, on a blocking thread as the pipeline does.
pub async fn read_layer(session: &Session, image: &ResolvedImage, index: usize) -> Result<Vec<u8>, Error> {
    read_with(session, image, index, LayerOptions::default()).await
}

pub async fn read_with(
    session: &Session,
    image: &ResolvedImage,
    index: usize,
    options: LayerOptions,
) -> Result<Vec<u8>, Error> {
    let mut stream = session.open_layer(image, index, options)?;
    let read = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        stream
            .read_to_end(&mut all)
            .map(|_| all)
            .map_err(|error| error_from_io(&error).expect("an error of ours"))
    });
    // A test that hangs is a failure, not a wait.
    tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .expect("no hang")
        .expect("no panic")
}

/// Resolves `reference` and reads its only layer.
pub async fn pull(session: &Session, reference: &str) -> Result<Vec<u8>, Error> {
    let image = resolve(session, reference).await?;
    read_layer(session, &image, 0).await
}

/// An error with all its causes, as a log would show it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} / {error:?}");
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(" / {cause} / {cause:?}");
        next = cause.source();
    }
    text
}
