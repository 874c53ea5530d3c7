//! The shipped manifests of cert-manager's edition, against what the webhook expects.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::super::SERVICE;
use super::super::registration::NAME;
use super::super::settings::{CertificateSource, WebhookConfig};

macro_rules! component {
    ($file:literal) => {
        include_str!(concat!("../../../../../config/deploy/components/cert-manager/", $file))
    };
}

fn documents(text: &str) -> Vec<Value> {
    let parse = |document| Value::deserialize(document).unwrap();
    serde_yaml_ng::Deserializer::from_str(text).map(parse).collect()
}

#[test]
fn the_parts_of_the_component_name_each_other() {
    let certificates = documents(component!("certificate.yaml"));
    let [issuer, certificate] = certificates.as_slice() else {
        panic!("{certificates:?}");
    };
    let deployment = documents(component!("deployment.yaml")).remove(0);
    let webhook = documents(component!("webhook.yaml")).remove(0);

    let metadata = &certificate["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap();
    assert_eq!(certificate["spec"]["issuerRef"]["name"], issuer["metadata"]["name"]);
    assert_eq!(
        certificate["spec"]["dnsNames"],
        json!([format!("{SERVICE}.{namespace}.svc")])
    );

    let pod = &deployment["spec"]["template"]["spec"];
    let (volume, container) = (&pod["volumes"][0], &pod["containers"][0]);
    assert_eq!(volume["secret"]["secretName"], certificate["spec"]["secretName"]);
    assert_eq!(container["volumeMounts"][0]["name"], volume["name"]);
    let dir = &container["volumeMounts"][0]["mountPath"];
    assert_eq!(container["env"][0]["value"], *dir);
    let variable = container["env"][0]["name"].as_str().unwrap();
    let key = variable.strip_prefix("IMAGECACHE_CONTROLLER__WEBHOOK__").unwrap();
    let table = json!({ "listen": "0.0.0.0:8443", key.to_lowercase(): dir });
    let config: WebhookConfig = serde_json::from_value(table).unwrap();
    let source = CertificateSource::Dir(dir.as_str().unwrap().into());
    assert_eq!(config.settings().unwrap().unwrap().certificate, source);

    assert_eq!(webhook["metadata"]["name"], NAME);
    let from = format!("{namespace}/{}", metadata["name"].as_str().unwrap());
    assert_eq!(
        webhook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        from
    );
}
