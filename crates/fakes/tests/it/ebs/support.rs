//! AWS's client for the EBS direct APIs, and its signer for everything else.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_ebs::config::retry::RetryConfig;
use aws_sdk_ebs::config::{BehaviorVersion, Region};
use aws_sdk_ebs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm};
use aws_sdk_ebs::{Client, Config};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagecache_fakes::ebs::{BLOCK_BYTES, FakeEbs};
use sha2::{Digest as _, Sha256};

pub type Failed<E> = SdkError<E, aws_smithy_runtime_api::http::Response>;

/// A fake and a client that never repeats a call.
pub struct Account {
    pub fake: FakeEbs,
    pub client: Client,
}

impl Account {
    pub async fn new() -> Self {
        let fake = FakeEbs::start().await.unwrap();
        let (id, secret) = fake.access_key();
        let client = client(&fake, Credentials::new(id, secret, None, None, "test"), fake.region());
        Self { fake, client }
    }

    pub async fn start(&self, gib: i64) -> String {
        let started = self.client.start_snapshot().volume_size(gib).send().await.unwrap();
        started.snapshot_id.unwrap()
    }

    pub async fn start_on(&self, parent: &str) -> String {
        let call = self.client.start_snapshot().volume_size(1).parent_snapshot_id(parent);
        call.send().await.unwrap().snapshot_id.unwrap()
    }

    /// Puts a block of one byte, repeated.
    pub async fn put(&self, id: &str, index: i32, byte: u8) {
        put(&self.client, id, index, byte).await.unwrap();
    }

    /// Completes a snapshot that holds these blocks.
    pub async fn complete(&self, id: &str, blocks: &[(i32, u8)]) {
        let call = self.client.complete_snapshot().snapshot_id(id);
        let count = i32::try_from(blocks.len()).unwrap();
        let call = call.changed_blocks_count(count).checksum(linear(blocks));
        let call = call.checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256);
        let call = call.checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear);
        call.send().await.unwrap();
    }

    /// A completed snapshot that holds these blocks, in the order given.
    pub async fn snapshot(&self, parent: Option<&str>, blocks: &[(i32, u8)]) -> String {
        let id = match parent {
            Some(parent) => self.start_on(parent).await,
            None => self.start(1).await,
        };
        for (index, byte) in blocks {
            self.put(&id, *index, *byte).await;
        }
        self.complete(&id, blocks).await;
        id
    }

    /// What a snapshot holds, read as a client does: the byte that each block repeats.
    pub async fn content(&self, id: &str) -> BTreeMap<i32, u8> {
        let mut blocks = BTreeMap::new();
        let mut token = None;
        loop {
            let call = self.client.list_snapshot_blocks().snapshot_id(id);
            let page = call.set_next_token(token).send().await.unwrap();
            for block in page.blocks() {
                let index = block.block_index().unwrap();
                let call = self.client.get_snapshot_block().snapshot_id(id).block_index(index);
                let got = call.block_token(block.block_token().unwrap()).send().await.unwrap();
                let checksum = got.checksum().unwrap().to_owned();
                let bytes = got.block_data.collect().await.unwrap().into_bytes();
                assert_eq!(checksum, STANDARD.encode(Sha256::digest(&bytes)));
                let same = bytes.iter().all(|byte| *byte == bytes[0]);
                assert!(same && bytes.len() == BLOCK_BYTES, "block {index} of {id}");
                assert!(
                    blocks.insert(index, bytes[0]).is_none(),
                    "block {index} is listed twice"
                );
            }
            token = page.next_token;
            if token.is_none() {
                return blocks;
            }
        }
    }

    /// Calls EC2 with a key, a service and a region.
    pub async fn ec2(&self, pairs: &[(&str, &str)]) -> (u16, String) {
        let mut all = vec![("Version", "2016-11-15")];
        all.extend(pairs);
        let pairs: Vec<String> = all
            .iter()
            .map(|(name, value)| {
                format!(
                    "{name}={}",
                    value.replace(':', "%3A").replace('=', "%3D").replace('+', "%2B")
                )
            })
            .collect();
        let (id, secret) = self.fake.access_key();
        let signer = Signer::new(id, secret);
        let response = signer.post(&self.fake, "/", &pairs.join("&")).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// A client that never repeats a call.
pub fn client(fake: &FakeEbs, credentials: Credentials, region: &'static str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(credentials)
        .endpoint_url(fake.endpoint())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::from_static(region))
        .retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

pub async fn put(
    client: &Client,
    id: &str,
    index: i32,
    byte: u8,
) -> Result<
    aws_sdk_ebs::operation::put_snapshot_block::PutSnapshotBlockOutput,
    Failed<aws_sdk_ebs::operation::put_snapshot_block::PutSnapshotBlockError>,
> {
    let bytes = vec![byte; BLOCK_BYTES];
    let call = client.put_snapshot_block().snapshot_id(id).block_index(index);
    let call = call.checksum(STANDARD.encode(Sha256::digest(&bytes)));
    let call = call.checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256);
    let call = call.data_length(i32::try_from(BLOCK_BYTES).unwrap());
    call.block_data(ByteStream::from(bytes)).send().await
}

/// The aggregate over blocks that each repeat one byte.
pub fn linear(blocks: &[(i32, u8)]) -> String {
    let sorted: BTreeMap<i32, u8> = blocks.iter().copied().collect();
    let digests = sorted
        .values()
        .flat_map(|byte| Sha256::digest(vec![*byte; BLOCK_BYTES]));
    STANDARD.encode(Sha256::digest(digests.collect::<Vec<u8>>()))
}

/// Status, name and reason of a refusal, as AWS's client understands it.
pub fn refusal<E>(error: Failed<E>) -> (u16, String, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let response = error.raw_response().expect("an answer");
    let status = response.status().as_u16();
    let body: serde_json::Value = serde_json::from_slice(response.body().bytes().unwrap()).unwrap_or_default();
    let reason = body["Reason"].as_str().unwrap_or_default().to_owned();
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    (status, code.unwrap_or_default().to_owned(), reason)
}

/// What a request is signed with.
pub struct Signer {
    pub credentials: Credentials,
    pub service: &'static str,
    pub region: &'static str,
    pub at: SystemTime,
}

impl Signer {
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            credentials: Credentials::new(id, secret, None, None, "test"),
            service: "ec2",
            region: "eu-central-1",
            at: SystemTime::now(),
        }
    }

    /// A signed POST of a form.
    pub fn post(&self, fake: &FakeEbs, path: &str, body: &str) -> reqwest::RequestBuilder {
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .name(self.service)
            .region(self.region)
            .settings(SigningSettings::default())
            .time(self.at);
        let params = params.build().unwrap().into();
        let url = format!("{}{path}", fake.endpoint());
        let body_bytes = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", url.as_str(), std::iter::empty(), body_bytes).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let mut request = http().post(url).body(body.to_owned());
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        request
    }
}

pub fn http() -> reqwest::Client {
    crate::support::http()
}

/// Longer than any call takes that is answered at all.
pub const PATIENCE: Duration = Duration::from_secs(20);
