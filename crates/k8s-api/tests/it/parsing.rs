//! What users write becomes what core understands, or an error that names the field.

use imagecache_core::{
    AcrInstance, AddressCharge, AlibabaResources, BuildOptions, ImageRef, Platform, PublicAddress, Retention,
};
use imagecache_k8s_api::{ImageCacheDialect, InvalidSpec, ParsedRequest, SecretRef, alibaba, tencent};
use serde_json::{Value, json};

const ALIBABA_SAMPLE: &str = r#"
apiVersion: eci.alibabacloud.com/v1
kind: ImageCache
metadata:
  name: web
  annotations:
    k8s.aliyun.com/vswitch-ids: "vsw-a,vsw-b"
    k8s.aliyun.com/eci-image-cache: "true"
    k8s.aliyun.com/imc-cpu-arch: arm64
    k8s.aliyun.com/plain-http-registry: "harbor.example.com, 10.0.0.1:5000"
    k8s.aliyun.com/insecure-registry: "self.example.com"
    kubectl.kubernetes.io/last-applied-configuration: "{}"
spec:
  images:
  - nginx:1.27
  - registry-vpc.cn-hangzhou.aliyuncs.com/team/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  imagePullSecrets:
  - default:acr-login
  - kube-system:other.login
  imageCacheSize: 25
  retentionDays: 7
"#;

const TENCENT_SAMPLE: &str = r#"
apiVersion: eks.cloud.tencent.com/v1
kind: ImageCache
metadata:
  name: web
  annotations:
    eks.tke.cloud.tencent.com/eip-attributes: '{"InternetMaxBandwidthOut":2}'
    eks.tke.cloud.tencent.com/registry-http-endpoint: "10.0.0.1:5000"
spec:
  images:
  - ccr.ccs.tencentyun.com/team/app:v1
  imagePullSecrets:
  - imc-operator-system/qcloudregistrykey
  securityGroupIds:
  - sg-1
"#;

fn secret(namespace: &str, name: &str) -> SecretRef {
    SecretRef {
        namespace: namespace.into(),
        name: name.into(),
    }
}

#[test]
fn alibabas_sample() {
    let object: alibaba::ImageCache = serde_yaml_ng::from_str(ALIBABA_SAMPLE).unwrap();
    let request = object.request().unwrap();
    let spec = &request.spec;
    assert_eq!(spec.images[0], ImageRef::parse("docker.io/library/nginx:1.27").unwrap());
    assert_eq!(spec.images.len(), 2);
    assert_eq!(spec.size_gib, 25);
    assert_eq!(spec.retention, Retention::Days(7));
    assert_eq!(spec.platform, Some(Platform::linux("arm64").normalized()));
    assert_eq!(spec.plain_http_registries, ["harbor.example.com", "10.0.0.1:5000"]);
    assert_eq!(spec.insecure_registries, ["self.example.com"]);
    assert_eq!(spec.display_name.as_deref(), Some("web"));
    assert_eq!(
        request.pull_secrets,
        [secret("default", "acr-login"), secret("kube-system", "other.login")]
    );
    let options = BuildOptions {
        layer_reuse: Some(true),
        alibaba: AlibabaResources {
            vswitch_ids: vec!["vsw-a".into(), "vsw-b".into()],
            ..AlibabaResources::default()
        },
        ..BuildOptions::default()
    };
    assert_eq!(spec.options, options);
}

#[test]
fn alibabas_build_options() {
    let annotated = |pairs: &[(&str, &str)]| {
        let annotations: serde_json::Map<_, _> = pairs
            .iter()
            .map(|(name, value)| (format!("k8s.aliyun.com/{name}"), (*value).into()))
            .collect();
        let request = from_alibaba(&json!({ "images": ["nginx"] }), &Value::Object(annotations));
        request.unwrap().spec.options
    };
    let instance = |id: &str, region: Option<&str>, service: Option<&str>, user: Option<&str>| AcrInstance {
        id: id.to_owned(),
        region: region.map(str::to_owned),
        service_arn: service.map(str::to_owned),
        user_arn: user.map(str::to_owned),
    };
    let options = annotated(&[
        ("acr-instance-ids", "cri-a, cn-beijing:cri-b"),
        ("acr-service-arns", "arn-s"),
        ("acr-user-arns", "arn-1,arn-2"),
    ]);
    assert_eq!(
        options.alibaba.acr_instances,
        [
            instance("cri-a", None, Some("arn-s"), Some("arn-1")),
            instance("cri-b", Some("cn-beijing"), Some("arn-s"), Some("arn-2")),
        ]
    );
    let address = [
        ("auto-create-eip", "true"),
        ("eip-bandwidth", "10"),
        ("eip-internet-charge-type", "PayByTraffic"),
        ("eip-isp", "BGP_PRO"),
        ("eip-common-bandwidth-package-id", "cbwp-a"),
    ];
    let options = annotated(&address);
    let wanted = PublicAddress {
        bandwidth_mbps: Some(10),
        charge: Some(AddressCharge::Traffic),
        isp: Some("BGP_PRO".to_owned()),
    };
    assert_eq!(options.public_address, Some(wanted));
    assert_eq!(options.alibaba.bandwidth_package_id.as_deref(), Some("cbwp-a"));
    assert_eq!(
        annotated(&address[1..]).public_address,
        None,
        "only with auto-create-eip"
    );
    for (name, pairs, expected) in [
        ("flash off", &[("imc-enable-flash", "false")][..], (None, Some(false))),
        (
            "the old name of reuse",
            &[("eci-image-cache", "true")],
            (Some(true), None),
        ),
        (
            "the new name wins",
            &[("eci-image-cache", "true"), ("imc-enable-reuse", "False")],
            (Some(false), None),
        ),
        ("blank is not given", &[("imc-enable-flash", " ")], (None, None)),
    ] {
        let options = annotated(pairs);
        assert_eq!((options.layer_reuse, options.flash), expected, "{name}");
    }
}

#[test]
fn tencents_sample() {
    let object: tencent::ImageCache = serde_yaml_ng::from_str(TENCENT_SAMPLE).unwrap();
    let request = object.request().unwrap();
    assert_eq!(request.spec.size_gib, 20);
    assert_eq!(request.spec.retention, Retention::Forever);
    assert_eq!(request.spec.plain_http_registries, ["10.0.0.1:5000"]);
    assert_eq!(
        request.pull_secrets,
        [secret("imc-operator-system", "qcloudregistrykey")]
    );
    let tencent = &request.spec.options.tencent;
    assert_eq!(tencent.security_group_ids, ["sg-1"]);
    assert_eq!(
        tencent.eip_attributes.as_deref(),
        Some(r#"{"InternetMaxBandwidthOut":2}"#)
    );
    assert_eq!((&tencent.vpc_id, &tencent.subnet_id), (&None, &None));
}

#[test]
fn a_tencent_object_may_name_its_own_network() {
    let mut object: tencent::ImageCache = serde_yaml_ng::from_str(TENCENT_SAMPLE).unwrap();
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert("imagecache.dev/tencent-vpc-id".into(), "vpc-1".into());
    annotations.insert("imagecache.dev/tencent-subnet-id".into(), " ".into());
    let tencent = object.request().unwrap().spec.options.tencent;
    assert_eq!((tencent.vpc_id.as_deref(), tencent.subnet_id), (Some("vpc-1"), None));
}

fn from_alibaba(spec: &Value, annotations: &Value) -> Result<ParsedRequest, InvalidSpec> {
    let object = json!({
        "apiVersion": "eci.alibabacloud.com/v1", "kind": "ImageCache",
        "metadata": { "name": "a", "annotations": annotations }, "spec": spec,
    });
    serde_json::from_value::<alibaba::ImageCache>(object).unwrap().request()
}

fn from_tencent(spec: &Value) -> Result<ParsedRequest, InvalidSpec> {
    let object = json!({
        "apiVersion": "eks.cloud.tencent.com/v1", "kind": "ImageCache",
        "metadata": { "name": "a" }, "spec": spec,
    });
    serde_json::from_value::<tencent::ImageCache>(object).unwrap().request()
}

#[test]
fn the_spec_wins_over_annotations_and_annotations_over_defaults() {
    let annotations = json!({ "k8s.aliyun.com/imc-size": "40", "k8s.aliyun.com/imc-retention-days": "3" });
    for (name, spec, size, retention) in [
        ("neither given", json!({}), 40, Retention::Days(3)),
        ("size given", json!({ "imageCacheSize": 30 }), 30, Retention::Days(3)),
        ("days given", json!({ "retentionDays": 9 }), 40, Retention::Days(9)),
    ] {
        let mut spec = spec;
        spec["images"] = json!(["nginx"]);
        let parsed = from_alibaba(&spec, &annotations).unwrap().spec;
        assert_eq!((parsed.size_gib, parsed.retention), (size, retention), "{name}");
    }
    let bare = from_alibaba(&json!({ "images": ["nginx"] }), &json!({})).unwrap().spec;
    assert_eq!(
        (bare.size_gib, bare.retention, bare.platform),
        (20, Retention::Forever, None)
    );
}

#[test]
fn mistakes_name_field_value_and_remedy() {
    let ok = json!({ "images": ["nginx"] });
    let with = |field: &str, value: Value| {
        let mut spec = ok.clone();
        spec[field] = value;
        spec
    };
    let annotated = |name: &str, value: &str| {
        let mut annotations = serde_json::Map::new();
        annotations.insert(format!("k8s.aliyun.com/{name}"), value.into());
        from_alibaba(&ok, &Value::Object(annotations))
    };
    let alibaba = |spec: Value| from_alibaba(&spec, &json!({}));
    for (name, result, field, parts) in [
        (
            "a flag's value",
            annotated("imc-enable-flash", "yes"),
            "metadata.annotations[k8s.aliyun.com/imc-enable-flash]",
            &["`yes`", "true or false"][..],
        ),
        (
            "a bandwidth",
            annotated("eip-bandwidth", "0"),
            "metadata.annotations[k8s.aliyun.com/eip-bandwidth]",
            &["`0`", "1 to 1000"],
        ),
        (
            "roles without an instance",
            annotated("acr-user-arns", "arn"),
            "metadata.annotations[k8s.aliyun.com/acr-user-arns]",
            &["1 roles for 0 instances"],
        ),
        (
            "vSwitches",
            annotated("vswitch-ids", &["vsw-a"; 11].join(",")),
            "metadata.annotations[k8s.aliyun.com/vswitch-ids]",
            &["11 vSwitches", "10"],
        ),
        (
            "no images",
            alibaba(json!({ "images": [] })),
            "spec.images",
            &["no images"],
        ),
        (
            "too many",
            alibaba(with("images", json!(vec!["a"; 21]))),
            "spec.images",
            &["21 images", "20"],
        ),
        (
            "bad reference",
            alibaba(with("images", json!(["ok", "Not An Image!"]))),
            "spec.images[1]",
            &["`Not An Image!`", "character"],
        ),
        (
            "small",
            alibaba(with("imageCacheSize", json!(19))),
            "spec.imageCacheSize",
            &["`19`", "20 to 32768"],
        ),
        (
            "large",
            alibaba(with("imageCacheSize", json!(32769))),
            "spec.imageCacheSize",
            &["`32769`"],
        ),
        (
            "beyond 32 bits",
            alibaba(with("imageCacheSize", json!(1_i64 << 40))),
            "spec.imageCacheSize",
            &["20 to"],
        ),
        (
            "no days",
            alibaba(with("retentionDays", json!(0))),
            "spec.retentionDays",
            &["`0`", "1 to 65536"],
        ),
        (
            "secret form",
            alibaba(with("imagePullSecrets", json!(["a:b", "x"]))),
            "spec.imagePullSecrets[1]",
            &["`x`", "namespace:name"],
        ),
        (
            "tencent's form",
            alibaba(with("imagePullSecrets", json!(["a/b"]))),
            "spec.imagePullSecrets[0]",
            &["namespace:name"],
        ),
        (
            "path in a name",
            alibaba(with("imagePullSecrets", json!(["a:b/../c"]))),
            "spec.imagePullSecrets[0]",
            &["`a:b/../c`"],
        ),
        (
            "alibaba's form",
            from_tencent(&with("imagePullSecrets", json!(["a:b"]))),
            "spec.imagePullSecrets[0]",
            &["namespace/name"],
        ),
        (
            "tencent days",
            from_tencent(&with("retentionDays", json!(3651))),
            "spec.retentionDays",
            &["`3651`", "0 to 3650"],
        ),
        (
            "tencent size",
            from_tencent(&with("imageCacheSize", json!(5))),
            "spec.imageCacheSize",
            &["`5`"],
        ),
        (
            "words for a size",
            annotated("imc-size", "big"),
            "metadata.annotations[k8s.aliyun.com/imc-size]",
            &["`big`", "whole number"],
        ),
        (
            "size annotation",
            annotated("imc-size", "1"),
            "metadata.annotations[k8s.aliyun.com/imc-size]",
            &["`1`"],
        ),
        (
            "architecture",
            annotated("imc-cpu-arch", "mips"),
            "metadata.annotations[k8s.aliyun.com/imc-cpu-arch]",
            &["`mips`", "amd64 or arm64"],
        ),
        (
            "scheme in a host",
            annotated("plain-http-registry", "http://a"),
            "metadata.annotations[k8s.aliyun.com/plain-http-registry]",
            &["`http://a`", "without a scheme"],
        ),
    ] {
        let error = result.expect_err(name);
        assert_eq!(error.field(), field, "{name}");
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{name}: {text} lacks {part}");
        }
    }
}
