//! The token conversation, call by call: a missing call fails as an extra one does.

use imagecache_core::{RegistryCredential, Secret};
use imagecache_fakes::image::{Compression, Image};
use imagecache_oci::{LayerOptions, SessionOptions};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::support::{amd64, layer, puller};

/// Answers only requests without credentials.
fn anonymous(request: &Request) -> bool {
    !request.headers.contains_key("authorization")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_manifest_config_and_layers() {
    let server = MockServer::start().await;
    let host = server.address().to_string();
    let image = Image::new(vec![layer(1, Compression::Gzip), layer(2, Compression::Gzip)]);
    let challenge = format!(
        r#"Bearer realm="{}/token",service="registry",scope="repository:app:pull""#,
        server.uri()
    );
    Mock::given(method("GET"))
        .and(path("/v2/app/manifests/1"))
        .and(anonymous)
        .respond_with(ResponseTemplate::new(401).insert_header("WWW-Authenticate", challenge.as_str()))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/token"))
        .and(query_param("service", "registry"))
        .and(query_param("scope", "repository:app:pull"))
        // user:hunter2
        .and(header("authorization", "Basic dXNlcjpodW50ZXIy"))
        .respond_with(ResponseTemplate::new(200).set_body_string(r#"{"token":"t-1","expires_in":300}"#))
        .expect(1)
        .mount(&server)
        .await;
    let mut served = vec![("/v2/app/manifests/1".to_owned(), image.manifest.clone())];
    let blobs = image.layers.iter().map(|layer| &layer.blob).chain([&image.config]);
    served.extend(blobs.map(|blob| (format!("/v2/app/blobs/{}", blob.digest), blob.clone())));
    for (place, blob) in served {
        let answer = ResponseTemplate::new(200).set_body_raw(blob.bytes.to_vec(), &blob.media_type);
        let asked = Mock::given(method("GET"))
            .and(path(place))
            .and(header("authorization", "Bearer t-1"));
        asked.respond_with(answer).expect(1).mount(&server).await;
    }

    let credentials = vec![RegistryCredential {
        server: host.clone(),
        username: "user".to_owned(),
        password: Secret::new("hunter2".to_owned()),
    }];
    let session = puller().session(SessionOptions {
        credentials,
        ..SessionOptions::default()
    });
    let reference = format!("{host}/app:1").parse().unwrap();
    let resolved = session
        .resolve(&imagecache_oci::ImageSource::Registry(reference), &amd64())
        .await
        .unwrap();
    for number in 0..resolved.layers.len() {
        let stream = session.open_layer(&resolved, number, LayerOptions::default()).unwrap();
        tokio::task::spawn_blocking(move || stream.finish())
            .await
            .unwrap()
            .unwrap();
    }
    server.verify().await;
}
