//! The file that the vendor's SDKs share, `~/.alibabacloud/credentials`: INI, a section for each profile, each with a type.

use std::collections::BTreeMap;

use super::recipe::{Recipe, keys, missing, named};
use super::sts::{OidcRole, Role};

/// The whole file, by section and key. Not `Debug`: it holds secrets.
pub(super) struct SharedFile(BTreeMap<String, Section>);

type Section = BTreeMap<String, String>;

impl SharedFile {
    /// Reads the file; the error has the number of the line and repeats nothing of it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
        let mut sections: BTreeMap<String, Section> = BTreeMap::new();
        let mut current: Option<&mut Section> = None;
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let number: usize = number;
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.split_once(']').map(|(name, _)| name.trim());
                let name =
                    name.ok_or_else(|| format!("not INI: line {number} begins a section and does not end its name"))?;
                current = Some(sections.entry(name.to_owned()).or_default());
                continue;
            }
            let pair = line.split_once('=');
            let (key, value) =
                pair.ok_or_else(|| format!("not INI: line {number} is no section, no comment and has no `=`"))?;
            let section = current
                .as_deref_mut()
                .ok_or_else(|| format!("not INI: line {number} stands before any section"))?;
            // As the vendor's SDKs: what follows a `#` is a comment, and no key or ARN holds one.
            let value = value.split_once('#').map_or(value, |(value, _)| value).trim();
            section.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
        Ok(Self(sections))
    }

    /// The recipe of the profile `name`; `None` when there is no such section. The error completes a sentence on the file.
    pub(super) fn recipe(&self, name: &str) -> Result<Option<Recipe>, String> {
        let Some(section) = self.0.get(name) else {
            return Ok(None);
        };
        recipe_of(section)
            .map(Some)
            .map_err(|wrong| format!("profile `{name}` {wrong}"))
    }
}

fn recipe_of(section: &Section) -> Result<Recipe, String> {
    let get = |key: &str| section.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let need = |key: &str| get(key).map(str::to_owned).ok_or_else(|| missing(key));
    let role = || {
        Ok::<_, String>(Role {
            arn: need("role_arn")?,
            session_name: get("role_session_name").unwrap_or_default().to_owned(),
            external_id: get("external_id").map(str::to_owned),
            policy: get("policy").map(str::to_owned),
            ..Role::default()
        })
    };
    let (id, secret) = (get("access_key_id"), get("access_key_secret"));
    match need("type")?.as_str() {
        "access_key" => keys(id, secret, None),
        "sts" => keys(id, secret, Some(&need("security_token")?)),
        "ram_role_arn" => Ok(Recipe::Role {
            base: Box::new(keys(id, secret, get("security_token"))?),
            role: role()?,
        }),
        "ecs_ram_role" => Ok(Recipe::Instance {
            role: get("role_name").map(str::to_owned),
        }),
        "oidc_role_arn" => Ok(Recipe::Oidc(OidcRole {
            role: role()?,
            provider_arn: need("oidc_provider_arn")?,
            token_file: need("oidc_token_file_path")?.into(),
        })),
        other => Err(format!(
            "has {}, which cannot be used here; use access_key, sts, ram_role_arn, ecs_ram_role or oidc_role_arn",
            named("type", other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "access_key_id = LTAIid\naccess_key_secret = hunter2\\=x\n";

    fn recipe(body: &str) -> Result<Option<Recipe>, String> {
        SharedFile::parse(format!("; a comment\n[other]\ntype = x\n\n[default] \r\n{body}").as_bytes())?
            .recipe("default")
    }

    #[test]
    fn every_type_has_its_recipe() {
        let role = "role_arn = acs:ram::1:role/r\nrole_session_name=s # ours\n";
        for (body, expected) in [
            (format!("type = access_key\n{KEYS}enable = true\n"), "Keys"),
            (format!("Type=sts\n{KEYS}security_token = t\n"), "Keys"),
            (format!("type = ram_role_arn\n{KEYS}{role}"), "Role"),
            ("type = ecs_ram_role\nrole_name = r\n".to_owned(), "Instance"),
            ("type = ecs_ram_role\n".to_owned(), "Instance"),
            (
                format!("type = oidc_role_arn\n{role}oidc_provider_arn = p\noidc_token_file_path = /f\n"),
                "Oidc",
            ),
        ] {
            let found = recipe(&body).unwrap().unwrap();
            if let Recipe::Keys(credential) = &found {
                assert_eq!(credential.secret.expose(), "hunter2\\=x", "taken as it is written");
            }
            assert!(format!("{found:?}").starts_with(expected), "{body}: {found:?}");
        }
        assert!(SharedFile::parse(b"").unwrap().recipe("default").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        for (body, part) in [
            (KEYS.to_owned(), "`default` has no `type`"),
            (
                "type = access_key\naccess_key_secret = hunter2\n".to_owned(),
                "has no `access_key_id`",
            ),
            (
                "type = access_key\naccess_key_id = x\naccess_key_secret =\n".to_owned(),
                "has no `access_key_secret`",
            ),
            (format!("type = sts\n{KEYS}"), "has no `security_token`"),
            (format!("type = ram_role_arn\n{KEYS}"), "has no `role_arn`"),
            ("type = rsa_key_pair\n".to_owned(), "the type `rsa_key_pair`"),
            (
                "type = access_key access_key_secret = hunter2\n".to_owned(),
                "has a type that is no word",
            ),
            ("type = access_key\nhunter2\n".to_owned(), "line 7"),
            ("type = access_key\n[hunter2\n".to_owned(), "line 7"),
        ] {
            let wrong = recipe(&body).err().unwrap();
            assert!(wrong.contains(part), "{body}: {wrong}");
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
        let early = SharedFile::parse(b"hunter2 = x").err().unwrap();
        assert!(early.contains("line 1") && !early.contains("hunter2"), "{early}");
    }
}
