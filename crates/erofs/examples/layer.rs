//! `layer IMAGE < TAR`: writes one layer and prints how fast that was; for measuring, and to try things out.

use std::fs::File;
use std::io::{Write as _, stdin, stdout};
use std::time::Instant;

use imagecache_erofs::{LayerOptions, write_layer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: layer IMAGE < TAR")?;
    let start = Instant::now();
    let summary = write_layer(stdin().lock(), File::create(path)?, &LayerOptions::default())?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = summary.tar_bytes as f64 / 1e6 / seconds;
    writeln!(
        stdout(),
        "{} bytes of tar, {} inodes, {seconds:.3} s, {rate:.0} MB/s",
        summary.tar_bytes,
        summary.inodes
    )?;
    writeln!(
        stdout(),
        "implicit {:?}",
        summary
            .implicit_directories
            .iter()
            .map(|path| String::from_utf8_lossy(path))
            .collect::<Vec<_>>()
    )?;
    writeln!(stdout(), "external {}", summary.external_links.len())?;
    Ok(())
}
