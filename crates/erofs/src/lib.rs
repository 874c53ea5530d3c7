//! A tar stream becomes a deterministic EROFS image.
