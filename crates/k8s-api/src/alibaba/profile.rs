//! The part of the ConfigMap `eci-profile` that concerns ImageCache objects: the network that a build uses where the object
//! names none ("Configure eci-profile", 2025-05).

use std::collections::BTreeMap;

use imagecache_core::AlibabaResources;

use crate::parse;

/// Both spellings are documented; the second is that of 2021.
const VSWITCH_IDS: [&str; 2] = ["vSwitchIds", "vswitchIds"];
const SECURITY_GROUP_ID: &str = "securityGroupId";
const RESOURCE_GROUP_ID: &str = "resourceGroupId";

/// What the profile's `data` gives to builds.
pub fn profile_defaults(data: &BTreeMap<String, String>) -> AlibabaResources {
    let text = |key: &str| {
        let text = data.get(key).map(|text| text.trim());
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let vswitches = VSWITCH_IDS.into_iter().find_map(text);
    AlibabaResources {
        vswitch_ids: vswitches.map(|list| parse::list(&list)).unwrap_or_default(),
        security_group_id: text(SECURITY_GROUP_ID),
        resource_group_id: text(RESOURCE_GROUP_ID),
        ..AlibabaResources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_blank_values() {
        let data = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            profile_defaults(&owned.collect())
        };
        let full = data(&[
            ("vpcId", "vpc-a"),
            ("vSwitchIds", "vsw-a, vsw-b"),
            ("securityGroupId", "sg-a"),
            ("resourceGroupId", " "),
            ("selectors", "[]"),
        ]);
        assert_eq!(full.vswitch_ids, ["vsw-a", "vsw-b"]);
        assert_eq!(
            (full.security_group_id.as_deref(), full.resource_group_id),
            (Some("sg-a"), None)
        );
        assert_eq!(data(&[("vswitchIds", "vsw-c")]).vswitch_ids, ["vsw-c"]);
        assert_eq!(data(&[]), AlibabaResources::default());
    }
}
