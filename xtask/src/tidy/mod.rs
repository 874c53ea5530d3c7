//! Rules of the project that the compiler does not check.

mod edges;
mod manifests;
mod sources;

use anyhow::{Result, bail};

/// Checks every rule, prints each breach, and fails if there was one.
pub fn run() -> Result<()> {
    let mut breaches = edges::check()?;
    breaches.extend(manifests::check()?);
    breaches.extend(sources::check()?);
    for breach in &breaches {
        println!("tidy: {breach}");
    }
    if !breaches.is_empty() {
        bail!("tidy found {} breaches", breaches.len());
    }
    println!("tidy: clean");
    Ok(())
}
