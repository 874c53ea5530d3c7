//! An image reference becomes a verified manifest, config and layer streams.
//!
//! [`Puller`] lives as long as the process and holds connections; [`Session`] is one request with its credentials.
//! [`Session::resolve`] finds and checks an image's documents, [`Session::open_layer`] gives a layer's tar as a blocking
//! reader that ends only when every digest was right. [`Session::may_read`] and [`Session::is_public`] say who may have it. Parsers ([`parse_document`], [`parse_config`],
//! [`parse_challenges`], [`Keyring`], [`Decoder`]) are pure functions of bytes.

mod access;
mod archive;
mod auth;
mod blob_reader;
mod challenge;
mod credential_helper;
mod decode;
mod download;
mod endpoint;
mod error;
mod gzip_frame;
mod hash;
mod hosts_config;
mod hosts_toml;
mod image;
mod keyring;
mod layout;
mod manifest;
mod media_type;
mod registry;
mod resolve;
mod retry;
mod select;
mod session;
mod source;
mod stream;
mod tls;
mod transport;
mod user_config;

pub use challenge::{Challenge, parse_challenges};
pub use decode::{Compression, DecodeError, Decoder, SNIFF_BYTES};
pub use error::{WrongDigest, error_from_io, is_wrong_digest};
pub use hosts_config::{
    Capability, DEFAULT_MAX_CONNECTIONS, Headers, HostConfig, HostsConfig, MirrorConfig, RewriteRule,
};
pub use hosts_toml::parse as parse_hosts_toml;
pub use image::{Blob, LayerDescriptor, ResolvedImage};
pub use keyring::{Keyring, Login};
pub use manifest::{
    Descriptor, Document, ImageConfig, IndexEntry, MAX_INDEX_ENTRIES, MAX_LAYERS, Manifest, check_image, parse_config,
    parse_document,
};
pub use media_type::{
    DOCKER_CONFIG, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD, OCI_MANIFEST,
};
pub use retry::{RetryPolicy, retry_after};
pub use select::{runs_on, select};
pub use session::{Puller, Session, SessionOptions};
pub use source::ImageSource;
pub use stream::{LayerCounters, LayerOptions, LayerStream};
