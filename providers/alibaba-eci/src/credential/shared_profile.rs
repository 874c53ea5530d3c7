//! The file that the vendor's SDKs share, `~/.alibabacloud/credentials`: INI, a section for each profile, each with a type.

use imagecache_cloud_http::source::{IniFile, IniSection};

use super::recipe::{Recipe, keys, missing, named};
use super::sts::{OidcRole, Role};

/// The recipe of the profile `name`; `None` when there is no such section. The error completes a sentence on the file.
pub(super) fn recipe(file: &IniFile, name: &str) -> Result<Option<Recipe>, String> {
    let Some(section) = file.section(name) else {
        return Ok(None);
    };
    recipe_of(section)
        .map(Some)
        .map_err(|wrong| format!("profile `{name}` {wrong}"))
}

fn recipe_of(section: &IniSection) -> Result<Recipe, String> {
    // As the vendor's SDKs: what follows a `#` is a comment, and no key or ARN holds one.
    let uncommented = |value: &'_ str| value.split('#').next().unwrap_or_default().trim().to_owned();
    let get = |key: &str| section.text(key).map(uncommented).filter(|value| !value.is_empty());
    let need = |key: &str| get(key).ok_or_else(|| missing(key));
    let role = || {
        Ok::<_, String>(Role {
            arn: need("role_arn")?,
            session_name: get("role_session_name").unwrap_or_default(),
            external_id: get("external_id"),
            policy: get("policy"),
            ..Role::default()
        })
    };
    let (id, secret) = (get("access_key_id"), get("access_key_secret"));
    match need("type")?.as_str() {
        "access_key" => keys(id, secret, None),
        "sts" => keys(id, secret, Some(need("security_token")?)),
        "ram_role_arn" => Ok(Recipe::Role {
            base: Box::new(keys(id, secret, get("security_token"))?),
            role: role()?,
        }),
        "ecs_ram_role" => Ok(Recipe::Instance { role: get("role_name") }),
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

    async fn read(text: &str) -> Result<Option<Recipe>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        std::fs::write(&path, text).unwrap();
        let file = IniFile::read(&path).await.map_err(|error| error.to_string())?;
        super::recipe(&file.unwrap(), "default")
    }

    async fn recipe(body: &str) -> Result<Option<Recipe>, String> {
        read(&format!("; a comment\n[other]\ntype = x\n\n[default] \r\n{body}")).await
    }

    #[tokio::test]
    async fn every_type_has_its_recipe() {
        let role = "role_arn = acs:ram::1:role/r\nrole_session_name=s # ours\n";
        for (body, expected) in [
            (format!("type = access_key\n{KEYS}enable = true\n"), "Keys"),
            (format!("type=sts\n{KEYS}security_token = t\n"), "Keys"),
            (format!("type = ram_role_arn\n{KEYS}{role}"), "Role"),
            ("type = ecs_ram_role\nrole_name = r\n".to_owned(), "Instance"),
            ("type = ecs_ram_role\n".to_owned(), "Instance"),
            (
                format!("type = oidc_role_arn\n{role}oidc_provider_arn = p\noidc_token_file_path = /f\n"),
                "Oidc",
            ),
        ] {
            let found = recipe(&body).await.unwrap().unwrap();
            if let Recipe::Keys(credential) = &found {
                assert_eq!(credential.secret.expose(), "hunter2\\=x", "taken as it is written");
            }
            assert!(format!("{found:?}").starts_with(expected), "{body}: {found:?}");
        }
        assert!(read("").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_not_repeated() {
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
            ("type = access_key\nhunter2\n".to_owned(), "is no INI file"),
            ("type = access_key\n[hunter2\n".to_owned(), "is no INI file"),
        ] {
            let wrong = recipe(&body).await.err().unwrap();
            assert!(wrong.contains(part), "{body}: {wrong}");
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }
}
