//! The file of the vendor's CLI, `~/.aliyun/config.json`: profiles by name, each with a mode.

use imagecache_cloud_http::source::parse_json;
use jiff::Timestamp;
use serde::Deserialize;

use super::recipe::{Recipe, keys, missing, named};
use super::sts::{OidcRole, Role};

/// Profiles that one profile may build on; more is a circle.
const MAX_CHAIN: usize = 8;

/// The whole file. Not `Debug`: it holds secrets.
#[derive(Deserialize)]
pub(super) struct CliFile {
    #[serde(default)]
    current: String,
    #[serde(default)]
    profiles: Vec<Profile>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profile {
    name: String,
    mode: String,
    access_key_id: Option<String>,
    access_key_secret: Option<String>,
    sts_token: Option<String>,
    sts_expiration: Option<i64>,
    ram_role_name: Option<String>,
    ram_role_arn: Option<String>,
    ram_session_name: Option<String>,
    /// The CLI's older name of the same.
    role_session_name: Option<String>,
    expired_seconds: Option<u32>,
    external_id: Option<String>,
    policy: Option<String>,
    sts_region: Option<String>,
    enable_vpc: Option<bool>,
    source_profile: Option<String>,
    oidc_provider_arn: Option<String>,
    oidc_token_file: Option<String>,
}

impl CliFile {
    /// Reads the file; the error repeats nothing of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        parse_json(text.as_bytes())
    }

    /// The recipe of the profile `wanted`, or of the current one; `None` when there is no such profile, or nobody has filled
    /// in the current one. The error completes "profile `x` …".
    pub(super) fn recipe(&self, wanted: Option<&str>) -> Result<Option<Recipe>, String> {
        let name = wanted.unwrap_or(&self.current);
        let Some(profile) = self.profiles.iter().find(|profile| profile.name == name) else {
            return Ok(None);
        };
        if wanted.is_none() && profile.is_blank() {
            return Ok(None);
        }
        let recipe = self.recipe_of(profile, MAX_CHAIN);
        recipe.map(Some).map_err(|wrong| format!("profile `{name}` {wrong}"))
    }

    fn recipe_of(&self, profile: &Profile, depth: usize) -> Result<Recipe, String> {
        match profile.mode.as_str() {
            "AK" => keys(profile.access_key_id.clone(), profile.access_key_secret.clone(), None),
            "StsToken" => profile.temporary_keys(),
            "RamRoleArn" => Ok(Recipe::Role {
                base: Box::new(keys(
                    profile.access_key_id.clone(),
                    profile.access_key_secret.clone(),
                    profile.sts_token.clone(),
                )?),
                role: profile.role()?,
            }),
            "EcsRamRole" => Ok(Recipe::Instance {
                role: filled(&profile.ram_role_name),
            }),
            "OIDC" => Ok(Recipe::Oidc(OidcRole {
                role: profile.role()?,
                provider_arn: filled(&profile.oidc_provider_arn).ok_or_else(|| missing("oidc_provider_arn"))?,
                token_file: filled(&profile.oidc_token_file)
                    .ok_or_else(|| missing("oidc_token_file"))?
                    .into(),
            })),
            "ChainableRamRoleArn" => {
                let source = filled(&profile.source_profile).ok_or_else(|| missing("source_profile"))?;
                let base = self.profiles.iter().find(|profile| profile.name == source);
                let base = base.ok_or_else(|| format!("builds on profile `{source}`, which does not exist"))?;
                let depth = depth
                    .checked_sub(1)
                    .ok_or("builds on itself through its `source_profile`")?;
                Ok(Recipe::Role {
                    base: Box::new(self.recipe_of(base, depth)?),
                    role: profile.role()?,
                })
            }
            mode => Err(format!(
                "has {}, which works in the CLI only; use AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole or OIDC",
                named("mode", mode)
            )),
        }
    }
}

impl Profile {
    /// What `aliyun configure` leaves when nothing was typed.
    fn is_blank(&self) -> bool {
        let empty = |field: &Option<String>| filled(field).is_none();
        matches!(self.mode.as_str(), "" | "AK") && empty(&self.access_key_id) && empty(&self.access_key_secret)
    }

    fn temporary_keys(&self) -> Result<Recipe, String> {
        let token = filled(&self.sts_token).ok_or_else(|| missing("sts_token"))?;
        let recipe = keys(self.access_key_id.clone(), self.access_key_secret.clone(), Some(token))?;
        let expires_at = self
            .sts_expiration
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        Ok(match recipe {
            Recipe::Keys(mut credential) => {
                credential.expires_at = expires_at;
                Recipe::Keys(credential)
            }
            other => other,
        })
    }

    fn role(&self) -> Result<Role, String> {
        Ok(Role {
            arn: filled(&self.ram_role_arn).ok_or_else(|| missing("ram_role_arn"))?,
            session_name: filled(&self.ram_session_name)
                .or_else(|| filled(&self.role_session_name))
                .unwrap_or_default(),
            external_id: filled(&self.external_id),
            seconds: self.expired_seconds.filter(|seconds| *seconds > 0),
            policy: filled(&self.policy),
            region: filled(&self.sts_region),
            vpc: self.enable_vpc.unwrap_or(false),
        })
    }
}

fn filled(field: &Option<String>) -> Option<String> {
    let text = field.as_deref().map(str::trim).filter(|text| !text.is_empty());
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(profile: &str, wanted: Option<&str>) -> Result<Option<Recipe>, String> {
        let text = format!(r#"{{"current": "one", "profiles": [{profile}], "meta_path": ""}}"#);
        CliFile::parse(&text)?.recipe(wanted)
    }

    const KEYS: &str = r#""access_key_id": "LTAIid", "access_key_secret": "hunter2""#;

    #[test]
    fn every_mode_has_its_recipe() {
        let role = r#""ram_role_arn": "acs:ram::1:role/r", "ram_session_name": "s", "expired_seconds": 900"#;
        for (profile, expected) in [
            (
                format!(r#"{{"name": "one", "mode": "AK", {KEYS}, "region_id": "x"}}"#),
                "Keys",
            ),
            (
                format!(
                    r#"{{"name": "one", "mode": "StsToken", {KEYS}, "sts_token": "t", "sts_expiration": 1800000000}}"#
                ),
                "Keys",
            ),
            (
                format!(r#"{{"name": "one", "mode": "RamRoleArn", {KEYS}, {role}}}"#),
                "Role",
            ),
            (
                r#"{"name": "one", "mode": "EcsRamRole", "ram_role_name": "r"}"#.to_owned(),
                "Instance",
            ),
            (
                format!(
                    r#"{{"name": "one", "mode": "OIDC", {role}, "oidc_provider_arn": "p", "oidc_token_file": "/f"}}"#
                ),
                "Oidc",
            ),
            (
                format!(
                    r#"{{"name": "one", "mode": "ChainableRamRoleArn", "source_profile": "two", {role}}}, {{"name": "two", "mode": "AK", {KEYS}}}"#
                ),
                "Role",
            ),
        ] {
            let found = format!("{:?}", recipe(&profile, None).unwrap().unwrap());
            assert!(found.starts_with(expected), "{profile}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (profile, part) in [
            (
                r#"{"name": "one", "mode": "AK", "access_key_id": "LTAIid"}"#.to_owned(),
                "`one` has no `access_key_secret`",
            ),
            (
                format!(r#"{{"name": "one", "mode": "StsToken", {KEYS}}}"#),
                "has no `sts_token`",
            ),
            (
                format!(r#"{{"name": "one", "mode": "RamRoleArn", {KEYS}}}"#),
                "has no `ram_role_arn`",
            ),
            (
                r#"{"name": "one", "mode": "OIDC", "ram_role_arn": "r"}"#.to_owned(),
                "has no `oidc_provider_arn`",
            ),
            (
                format!(r#"{{"name": "one", "mode": "OAuth", {KEYS}}}"#),
                "the mode `OAuth`",
            ),
            (
                r#"{"name": "one", "mode": "ChainableRamRoleArn", "source_profile": "one", "ram_role_arn": "r"}"#
                    .to_owned(),
                "builds on itself",
            ),
            (
                r#"{"name": "one", "mode": "ChainableRamRoleArn", "source_profile": "two"}"#.to_owned(),
                "`two`, which does not exist",
            ),
        ] {
            let wrong = recipe(&profile, None).unwrap_err();
            assert!(wrong.contains(part), "{profile}: {wrong}");
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn no_profile_is_no_error() {
        assert!(recipe(r#"{"name": "other", "mode": "AK"}"#, None).unwrap().is_none());
        assert!(
            recipe(r#"{"name": "one", "mode": "AK"}"#, None).unwrap().is_none(),
            "not filled in"
        );
        assert!(
            recipe(r#"{"name": "one", "mode": "AK"}"#, Some("one")).is_err(),
            "named, so it should be"
        );
        assert!(CliFile::parse("{}").unwrap().recipe(None).unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_broken_is_not_repeated() {
        for text in [
            r#"{"profiles": "hunter2"}"#,
            r#"{"profiles": [{"access_key_secret": ["hunter2"]}]}"#,
            r#"{"profiles": [{"expired_seconds": "hunter2"}]}"#,
            r#"{"profiles": [{"access_key_secret": "hunter2"#,
            "hunter2",
        ] {
            let wrong = CliFile::parse(text).err().unwrap();
            assert!(!wrong.contains("hunter2"), "{text}: {wrong}");
        }
    }
}
