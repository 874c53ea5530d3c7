//! PAX extended headers: `length key=value\n` records that override a header.

use std::collections::BTreeMap;

use super::sparse::Region;

/// Where tars keep xattrs; the value is raw bytes.
const XATTR_KEY: &[u8] = b"SCHILY.xattr.";

/// What the extended header before an entry says.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<i64>,
    pub(crate) uid: Option<i64>,
    pub(crate) gid: Option<i64>,
    pub(crate) mtime: Option<(i64, u32)>,
    /// A map: a hostile header may repeat tens of thousands of them.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) sparse: Sparse,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    pub(crate) major: Option<i64>,
    pub(crate) minor: Option<i64>,
    pub(crate) name: Option<Vec<u8>>,
    /// `GNU.sparse.size` of formats 0.x or `GNU.sparse.realsize` of 1.0.
    pub(crate) real_size: Option<i64>,
    /// The map of formats 0.0 and 0.1.
    pub(crate) map: Option<Vec<Region>>,
    pub(crate) pending_offset: Option<i64>,
}

/// Reads all records of a header's body. A later record wins over an earlier one; an empty value takes it back.
pub(crate) fn parse(mut body: &[u8], into: &mut Overrides) -> Result<(), String> {
    while !body.is_empty() {
        let (key, value, rest) = record(body)?;
        apply(key, value, into).map_err(|reason| format!("PAX record {:?}: {reason}", String::from_utf8_lossy(key)))?;
        body = rest;
    }
    Ok(())
}

/// Key, value and what follows.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits the first record off.
fn record(body: &[u8]) -> Result<Record<'_>, String> {
    let space = body
        .iter()
        .take(20)
        .position(|byte| *byte == b' ')
        .ok_or("a PAX record has no length")?;
    let length = decimal(&body[..space]).map_err(|_| "a PAX record's length is not a number")?;
    let length = usize::try_from(length).map_err(|_| "a PAX record's length is negative")?;
    if length <= space + 1 || length > body.len() {
        return Err(format!("a PAX record claims {length} bytes of {}", body.len()));
    }
    let (record, rest) = body.split_at(length);
    let text = record[space + 1..]
        .strip_suffix(b"\n")
        .ok_or("a PAX record does not end with a newline")?;
    let equals = text
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or("a PAX record has no `=`")?;
    if equals == 0 {
        return Err("a PAX record has an empty key".into());
    }
    Ok((&text[..equals], &text[equals + 1..], rest))
}

fn apply(key: &[u8], value: &[u8], into: &mut Overrides) -> Result<(), String> {
    let bytes = || -> Result<Option<Vec<u8>>, String> {
        if value.contains(&0) {
            return Err("holds a NUL byte".into());
        }
        Ok((!value.is_empty()).then(|| value.to_vec()))
    };
    let number = || -> Result<Option<i64>, String> {
        if value.is_empty() {
            Ok(None)
        } else {
            decimal(value).map(Some)
        }
    };
    match key {
        b"path" => into.path = bytes()?,
        b"linkpath" => into.link = bytes()?,
        b"size" => into.size = number()?,
        b"uid" => into.uid = number()?,
        b"gid" => into.gid = number()?,
        b"mtime" => into.mtime = if value.is_empty() { None } else { Some(time(value)?) },
        b"GNU.sparse.major" => into.sparse.major = number()?,
        b"GNU.sparse.minor" => into.sparse.minor = number()?,
        b"GNU.sparse.name" => into.sparse.name = bytes()?,
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => into.sparse.real_size = number()?,
        b"GNU.sparse.numblocks" => into.sparse.map = Some(Vec::new()),
        b"GNU.sparse.offset" => into.sparse.pending_offset = number()?,
        b"GNU.sparse.numbytes" => {
            let offset = into
                .sparse
                .pending_offset
                .take()
                .ok_or("comes without GNU.sparse.offset")?;
            let length = number()?.ok_or("is empty")?;
            into.sparse
                .map
                .get_or_insert_default()
                .push(Region::new(offset, length)?);
        }
        b"GNU.sparse.map" => into.sparse.map = Some(map(value)?),
        _ => {
            if let Some(name) = key.strip_prefix(XATTR_KEY) {
                into.xattrs.insert(name.to_vec(), value.to_vec());
            }
        }
    }
    Ok(())
}

/// `offset,length,offset,length,…`
fn map(value: &[u8]) -> Result<Vec<Region>, String> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = value
        .split(|byte| *byte == b',')
        .map(decimal)
        .collect::<Result<_, _>>()?;
    if !numbers.len().is_multiple_of(2) {
        return Err("has an odd count of numbers".into());
    }
    numbers
        .chunks_exact(2)
        .map(|pair| Region::new(pair[0], pair[1]))
        .collect()
}

/// Most digits that an `i64` can have.
const DIGITS: usize = 19;

/// A decimal number, possibly negative.
pub(crate) fn decimal(text: &[u8]) -> Result<i64, String> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return Err("not a decimal number".into());
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "number out of range".into())
}

/// Digits of a nanosecond count.
const NANO_DIGITS: usize = 9;

/// Seconds with an optional fraction; further digits than nanoseconds are cut off towards the past.
fn time(value: &[u8]) -> Result<(i64, u32), String> {
    let (whole, fraction) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &value[value.len()..]),
    };
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("not a time".into());
    }
    let nanoseconds = (0..NANO_DIGITS).fold(0u32, |sum, at| {
        sum * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'))
    });
    if whole.starts_with(b"-") && nanoseconds > 0 {
        // -1.25 s is 0.75 s after -2 s.
        let seconds = seconds.checked_sub(1).ok_or("time out of range")?;
        return Ok((seconds, 1_000_000_000 - nanoseconds));
    }
    Ok((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let rows: &[(&str, Option<(i64, u32)>)] = &[
            ("0", Some((0, 0))),
            ("1700000000.5", Some((1_700_000_000, 500_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("", None),
            (".5", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in rows {
            assert_eq!(time(text.as_bytes()).ok(), *expected, "{text:?}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let rows: &[(&str, &[u8])] = &[
            ("no length", b"path=x\n"),
            ("length too long", b"99 path=x\n"),
            ("length too short", b"3 path=x\n"),
            ("zero length", b"0 path=x\n"),
            ("no newline", b"9 path=xy"),
            ("no equals", b"9 pathxy\n"),
            ("empty key", b"5 =x\n"),
            ("nul in path", b"11 path=a\0b\n"),
            ("huge length", b"99999999999999999999 path=x\n"),
        ];
        for (name, body) in rows {
            assert!(parse(body, &mut Overrides::default()).is_err(), "{name}");
        }
    }

    #[test]
    fn xattr_values_are_raw_bytes() {
        let mut overrides = Overrides::default();
        parse(b"28 SCHILY.xattr.user.k=\0\n=\xff\n", &mut overrides).expect("valid");
        assert_eq!(
            overrides.xattrs,
            BTreeMap::from([(b"user.k".to_vec(), b"\0\n=\xff".to_vec())])
        );
    }
}
