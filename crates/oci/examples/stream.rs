//! Measures reading layers: `stream blob FILE` inflates a file on one thread, `stream image REF [PLATFORM]` downloads,
//! checks and decodes every layer of an image side by side. Prints MB/s of tar bytes.
#![allow(clippy::print_stdout, reason = "results go to stdout")]

use std::io::Read;
use std::time::Instant;

use imagecache_core::Platform;
use imagecache_oci::{Compression, Decoder, HostsConfig, ImageSource, Keyring, LayerOptions, Puller, SessionOptions};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Size of the output buffer, as layer streams use it.
const BUFFER_BYTES: usize = 512 * 1024;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["blob", path] => blob(path),
        ["image", reference] => image(reference, Platform::host()).await,
        ["image", reference, platform] => image(reference, platform.parse()?).await,
        _ => Err("usage: stream blob FILE | stream image REFERENCE [PLATFORM]".into()),
    }
}

fn blob(path: &str) -> Outcome<()> {
    let bytes = std::fs::read(path)?;
    let mut out = vec![0; BUFFER_BYTES];
    let start = Instant::now();
    let mut decoder = Decoder::new(Compression::sniff(&bytes))?;
    let (mut input, mut total) = (bytes.as_slice(), 0_u64);
    loop {
        let (read, wrote) = decoder.decode(input, &mut out)?;
        input = input.get(read..).unwrap_or_default();
        total += wrote as u64;
        if read == 0 && wrote == 0 {
            break;
        }
    }
    decoder.finish()?;
    report("decode", total, start);
    Ok(())
}

async fn image(reference: &str, platform: Platform) -> Outcome<()> {
    let puller = Puller::new(HostsConfig::default(), Keyring::default());
    let session = puller.session(SessionOptions::default());
    let start = Instant::now();
    let image = session.resolve(&reference.parse::<ImageSource>()?, &platform).await?;
    report("resolve", 0, start);
    let mut readers = Vec::new();
    for index in 0..image.layers.len() {
        let mut stream = session.open_layer(&image, index, LayerOptions::default())?;
        readers.push(tokio::task::spawn_blocking(move || -> Outcome<u64> {
            let (mut out, mut total) = (vec![0; BUFFER_BYTES], 0);
            loop {
                match stream.read(&mut out)? {
                    0 => return Ok(total),
                    count => total += count as u64,
                }
            }
        }));
    }
    let mut total = 0;
    for reader in readers {
        total += reader.await??;
    }
    report("layers", total, start);
    Ok(())
}

fn report(what: &str, bytes: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no more precision")]
    let rate = bytes as f64 / 1e6 / seconds;
    println!("{what:8} {seconds:7.3} s {bytes:12} bytes {rate:7.0} MB/s");
}
