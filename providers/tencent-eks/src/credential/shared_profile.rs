//! The file that the vendor's SDKs share, `~/.tencentcloud/credentials`: INI, a section for each profile.

use imagecache_cloud_http::Credential;
use imagecache_cloud_http::source::IniFile;
use imagecache_core::Secret;

/// What a profile says: keys, and perhaps a role to assume with them.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) credential: Credential,
    pub(super) role_arn: Option<String>,
}

/// The profile `name`; `None` when there is no such section. The error completes a sentence on the file.
pub(super) fn profile(file: &IniFile, name: &str) -> Result<Option<Profile>, String> {
    let Some(section) = file.section(name) else {
        return Ok(None);
    };
    let need = |key: &str| {
        let value = section.text(key).map(str::to_owned);
        value.ok_or_else(|| format!("profile `{name}` has no `{key}`"))
    };
    Ok(Some(Profile {
        credential: Credential {
            id: need("secret_id")?,
            secret: Secret::new(need("secret_key")?),
            token: None,
            expires_at: None,
        },
        role_arn: section.text("role_arn").map(str::to_owned),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Result<Option<Profile>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        std::fs::write(&path, text).unwrap();
        let file = IniFile::read(&path).await.map_err(|error| error.to_string())?;
        profile(&file.unwrap(), "default")
    }

    #[tokio::test]
    async fn keys_and_perhaps_a_role() {
        for (text, role) in [
            ("[default]\nsecret_id = AKIDid\nsecret_key = hunter2\n", None),
            (
                "; ours\n[other]\nsecret_id = x\n[default]\r\nsecret_id=AKIDid\r\nsecret_key=hunter2\nrole_arn = \nregion = x\n",
                None,
            ),
            (
                "[default]\nsecret_id = AKIDid\nsecret_key = hunter2\nrole_arn = qcs::cam::uin/1:roleName/r\n",
                Some("qcs::cam::uin/1:roleName/r"),
            ),
        ] {
            let found = read(text).await.unwrap().unwrap();
            assert_eq!(found.credential.id, "AKIDid");
            assert_eq!(found.credential.secret.expose(), "hunter2");
            assert_eq!(found.role_arn.as_deref(), role, "{text}");
            assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
        }
        assert!(read("").await.unwrap().is_none());
        assert!(read("secret_id = x\nsecret_key = y\n").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_not_repeated() {
        for (text, part) in [
            ("[default]\nsecret_key = hunter2\n", "`default` has no `secret_id`"),
            (
                "[default]\nsecret_id = x\nsecret_key =\n",
                "`default` has no `secret_key`",
            ),
            ("[default]\nsecret_id = x\nhunter2\n", "is no INI file"),
            ("[default\nsecret_key = hunter2\n", "is no INI file"),
        ] {
            let wrong = read(text).await.err().unwrap();
            assert!(wrong.contains(part), "{text}: {wrong}");
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }
}
