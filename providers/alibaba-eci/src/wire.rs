//! Bodies of the image-cache actions, as the API has them (Eci 2018-08-08).

mod answer;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Acknowledged, CacheEntry, CachePage, CreatedCache, EntryEvent, Usage, UsageAttributes};
pub(crate) use request::{
    AcrRegistry, CreateImageCache, DeleteImageCache, DescribeImageCaches, Settings, UpdateImageCache,
};
