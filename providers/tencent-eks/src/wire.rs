//! Bodies of the image-cache actions, as the API has them (TKE 2018-05-25).

mod answer;
mod request;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use answer::{Acknowledged, CacheEntry, CachePage, CreatedCache, EntryEvent, Suitable};
pub(crate) use request::{CreateImageCache, DescribeImageCaches, Eip, EipAttribute, Settings, UpdateImageCache};
pub(crate) use request::{delete_image_caches, most_suitable_image_cache};
#[cfg(test)]
pub(crate) use time::Moment;
