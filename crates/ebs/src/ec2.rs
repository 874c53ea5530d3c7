//! The two calls that the EBS direct APIs leave to EC2.
//!
//! `aws-sdk-ec2` has hundreds of them: 1.247 took 12 minutes of two cores and 7.6 GiB of memory to compile with optimisation, this
//! whole crate less than one minute, on the same machine. Signing, transport and XML are the SDK's own crates all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_xml::decode::{Document, ScopedDecoder, try_data};
use aws_types::service_config::ServiceConfigKey;
use imagecache_blocks::{Error, Result};
use imagecache_core::ErrorKind;
use tokio::sync::Mutex;

use crate::connection::{ATTEMPT_TIMEOUT, CONNECT_TIMEOUT};
use crate::trouble::Trouble;

/// EC2's API version of the last decade.
const API_VERSION: &str = "2016-11-15";
const SERVICE: &str = "ec2";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// Credentials are asked for anew this long before they end.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// A snapshot as EC2 describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) message: String,
    pub(crate) encrypted: bool,
    /// ARN of the key of one that is encrypted.
    pub(crate) kms_key: String,
    pub(crate) tags: BTreeMap<String, String>,
}

/// What is described.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selection<'a> {
    Id(&'a str),
    /// All of this account that carry this tag.
    Tag(&'a str, &'a str),
}

/// Signs and sends.
#[derive(Clone, Debug)]
pub(crate) struct Ec2 {
    connector: Arc<Connector>,
    endpoint: String,
    region: String,
    provider: SharedCredentialsProvider,
    credentials: Arc<Mutex<Option<Credentials>>>,
}

impl Ec2 {
    /// A client with region, endpoint and credentials of `sdk`.
    pub(crate) fn new(sdk: &SdkConfig) -> Result<Self> {
        let missing = |what: &str| Error::Service {
            kind: ErrorKind::InvalidSpec,
            message: format!("no AWS {what} are configured"),
        };
        let region = sdk.region().map(ToString::to_string).unwrap_or_default();
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(ATTEMPT_TIMEOUT)
            .build();
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .connector_settings(settings)
            .build();
        Ok(Self {
            connector: Arc::new(connector),
            endpoint: endpoint(sdk, &region),
            region,
            provider: sdk.credentials_provider().ok_or_else(|| missing("credentials"))?,
            credentials: Arc::default(),
        })
    }

    /// One page of DescribeSnapshots: the snapshots and the token of the next page.
    pub(crate) async fn describe_snapshots(
        &self,
        selection: Selection<'_>,
        next: Option<&str>,
    ) -> Result<(Vec<Described>, Option<String>), Trouble> {
        let mut parameters = vec![("Action", "DescribeSnapshots")];
        let filter;
        match selection {
            Selection::Id(id) => parameters.push(("SnapshotId.1", id)),
            Selection::Tag(key, value) => {
                filter = format!("tag:{key}");
                parameters.extend([
                    ("Owner.1", "self"),
                    ("Filter.1.Name", &filter),
                    ("Filter.1.Value.1", value),
                    ("MaxResults", "1000"),
                ]);
            }
        }
        parameters.extend(next.map(|token| ("NextToken", token)));
        let body = self.call(&parameters).await?;
        parse_snapshots(&body).ok_or_else(|| Trouble::unanswered("DescribeSnapshots was answered with no XML"))
    }

    /// DeleteSnapshot.
    pub(crate) async fn delete_snapshot(&self, id: &str) -> Result<(), Trouble> {
        self.call(&[("Action", "DeleteSnapshot"), ("SnapshotId", id)])
            .await
            .map(drop)
    }

    async fn call(&self, parameters: &[(&str, &str)]) -> Result<String, Trouble> {
        let credentials = self.credentials().await?;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Version", API_VERSION)
            .extend_pairs(parameters)
            .finish();
        let request = self.signed(&body, credentials).map_err(Trouble::unanswered)?;
        let sending = async {
            let response = self
                .connector
                .call(request)
                .await
                .map_err(|error| Trouble::unanswered(imagecache_core::chain(&error)))?;
            let status = response.status().as_u16();
            let body = ByteStream::new(response.into_body()).collect().await;
            let body = body.map_err(|error| Trouble::unanswered(imagecache_core::chain(&error)))?;
            Ok((status, String::from_utf8_lossy(&body.into_bytes()).into_owned()))
        };
        let answered = tokio::time::timeout(ATTEMPT_TIMEOUT, sending).await;
        let (status, text) = answered.unwrap_or_else(|_| Err(Trouble::unanswered("EC2 did not answer in time")))?;
        match status {
            200..300 => Ok(text),
            _ => Err(parse_refusal(status, &text)),
        }
    }

    /// The credentials, kept until shortly before they end.
    async fn credentials(&self) -> Result<Credentials, Trouble> {
        let mut kept = self.credentials.lock().await;
        let fresh = |credentials: &Credentials| {
            credentials
                .expiry()
                .is_none_or(|at| at > SystemTime::now() + EXPIRY_MARGIN)
        };
        if let Some(credentials) = kept.as_ref().filter(|credentials| fresh(credentials)) {
            return Ok(credentials.clone());
        }
        let credentials = self
            .provider
            .provide_credentials()
            .await
            .map_err(|error| Trouble::credentials(&error))?;
        // Those that never end may still be replaced by somebody who edits a file: they are asked for each time.
        *kept = credentials.expiry().is_some().then(|| credentials.clone());
        Ok(credentials)
    }

    fn signed(&self, body: &str, credentials: Credentials) -> Result<aws_smithy_runtime_api::http::Request, String> {
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let headers = [("content-type", FORM)].into_iter();
        let signable = SignableRequest::new(
            "POST",
            self.endpoint.as_str(),
            headers,
            SignableBody::Bytes(body.as_bytes()),
        )
        .map_err(|error| error.to_string())?;
        let (instructions, _) = sign(signable, &parameters)
            .map_err(|error| error.to_string())?
            .into_parts();
        let mut request = http::Request::post(&self.endpoint)
            .header("content-type", FORM)
            .body(SdkBody::from(body))
            .map_err(|error| error.to_string())?;
        instructions.apply_to_request_http1x(&mut request);
        request
            .try_into()
            .map_err(|error: aws_smithy_runtime_api::http::HttpError| error.to_string())
    }
}

/// As the SDK finds an endpoint: of this service in environment or profile, of all services, the region's.
fn endpoint(sdk: &SdkConfig, region: &str) -> String {
    let key = ServiceConfigKey::builder()
        .service_id("EC2")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = key.ok().and_then(|key| sdk.service_config()?.load_config(key));
    let found = own.or_else(|| sdk.endpoint_url().map(str::to_owned));
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    let mut endpoint = found.unwrap_or_else(|| format!("https://ec2.{region}.{domain}"));
    if !endpoint.ends_with('/') {
        endpoint.push('/');
    }
    endpoint
}

fn parse_snapshots(text: &str) -> Option<(Vec<Described>, Option<String>)> {
    let mut document = Document::new(text);
    let mut root = document.root_element().ok()?;
    let (mut snapshots, mut next) = (Vec::new(), None);
    while let Some(mut tag) = root.next_tag() {
        match tag.start_el().local() {
            "snapshotSet" => {
                while let Some(mut item) = tag.next_tag() {
                    snapshots.push(parse_snapshot(&mut item)?);
                }
            }
            "nextToken" => next = text_of(&mut tag).filter(|token| !token.is_empty()),
            _ => {}
        }
    }
    Some((snapshots, next))
}

fn parse_snapshot(item: &mut ScopedDecoder<'_, '_>) -> Option<Described> {
    let mut found = Described::default();
    while let Some(mut field) = item.next_tag() {
        match field.start_el().local() {
            "snapshotId" => found.id = text_of(&mut field)?,
            "status" => found.status = text_of(&mut field)?,
            "statusMessage" => found.message = text_of(&mut field)?,
            "encrypted" => found.encrypted = text_of(&mut field)? == "true",
            "kmsKeyId" => found.kms_key = text_of(&mut field)?,
            "tagSet" => {
                while let Some(mut tag) = field.next_tag() {
                    let (mut key, mut value) = (String::new(), String::new());
                    while let Some(mut half) = tag.next_tag() {
                        match half.start_el().local() {
                            "key" => key = text_of(&mut half)?,
                            "value" => value = text_of(&mut half)?,
                            _ => {}
                        }
                    }
                    found.tags.insert(key, value);
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// `<Response><Errors><Error><Code>…</Code><Message>…</Message></Error></Errors><RequestID>…</RequestID></Response>`
fn parse_refusal(status: u16, text: &str) -> Trouble {
    let mut found = BTreeMap::new();
    let mut document = Document::new(text);
    if let Ok(mut root) = document.root_element() {
        leaves(&mut root, &mut found);
    }
    let request = found.remove("RequestID").or_else(|| found.remove("RequestId"));
    let code = found.get("Code").map_or("unknown", String::as_str);
    let message = found.get("Message").map_or("", String::as_str);
    Trouble::refused(status, code, None, message, request)
}

fn leaves(parent: &mut ScopedDecoder<'_, '_>, found: &mut BTreeMap<String, String>) {
    while let Some(mut tag) = parent.next_tag() {
        let name = tag.start_el().local().to_owned();
        match name.as_str() {
            "Errors" | "Error" => leaves(&mut tag, found),
            _ => found.extend(text_of(&mut tag).map(|text| (name, text))),
        }
    }
}

fn text_of(tag: &mut ScopedDecoder<'_, '_>) -> Option<String> {
    try_data(tag).ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trouble::Action;

    /// After the example on the DescribeSnapshots page of the EC2 API reference, with a second tag.
    #[test]
    fn descriptions_are_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
              <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>
              <snapshotSet><item>
                <snapshotId>snap-1234567890abcdef0</snapshotId><volumeId>vol-1</volumeId>
                <status>pending</status><encrypted>true</encrypted>
                <kmsKeyId>arn:aws:kms:eu-central-1:111122223333:key/1</kmsKeyId><startTime>2013-07-15T12:00:00.000Z</startTime><progress>30%</progress>
                <ownerId>111122223333</ownerId><volumeSize>15</volumeSize><description>a &amp; b</description>
                <tagSet><item><key>Name</key><value>demo &lt;1&gt;</value></item><item><key>empty</key><value/></item></tagSet>
              </item><item><snapshotId>snap-2</snapshotId><status>error</status><statusMessage>no key</statusMessage></item></snapshotSet>
              <nextToken>more</nextToken>
            </DescribeSnapshotsResponse>"#;
        let (snapshots, next) = parse_snapshots(text).unwrap();
        let tags = [("Name", "demo <1>"), ("empty", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let first = Described {
            id: "snap-1234567890abcdef0".to_owned(),
            status: "pending".to_owned(),
            message: String::new(),
            encrypted: true,
            kms_key: "arn:aws:kms:eu-central-1:111122223333:key/1".to_owned(),
            tags: tags.into(),
        };
        let second = Described {
            id: "snap-2".to_owned(),
            status: "error".to_owned(),
            message: "no key".to_owned(),
            encrypted: false,
            kms_key: String::new(),
            tags: BTreeMap::new(),
        };
        assert_eq!(snapshots, [first, second]);
        assert_eq!(next.as_deref(), Some("more"));
        assert_eq!(parse_snapshots("502 Bad Gateway"), None);
    }

    #[test]
    fn refusals_are_read() {
        let text = "<Response><Errors><Error><Code>InvalidSnapshot.InUse</Code><Message>in use by ami-1</Message></Error></Errors>\
                    <RequestID>r-1</RequestID></Response>";
        let trouble = parse_refusal(400, text);
        assert_eq!(
            (trouble.code.as_str(), trouble.message.as_str()),
            ("InvalidSnapshot.InUse", "in use by ami-1")
        );
        assert_eq!(trouble.request_id.as_deref(), Some("r-1"));
        assert_eq!(parse_refusal(503, "busy").action, Action::Again);
    }
}
