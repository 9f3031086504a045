//! The interface that we compile is the one that the facts describe: service by service, field by field, number by
//! number, option by option.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::Path;

use csi_certify::csi::DESCRIPTOR_SET;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use serde_json::{Map, Value as Json, json};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTOR_SET).unwrap()
}

fn facts() -> Json {
    serde_json::from_str(include_str!("../crates/history/proto/csi/v1/facts.json")).unwrap()
}

/// The CSI options that are set, by name.
fn options(message: &DynamicMessage) -> Map<String, Json> {
    message
        .extensions()
        .filter(|(extension, _)| extension.full_name().starts_with("csi.v1."))
        .map(|(extension, value)| (extension.name().to_owned(), json!(value.as_bool())))
        .collect()
}

fn with_options(mut fact: Map<String, Json>, message: &DynamicMessage) -> Json {
    let options = options(message);
    if !options.is_empty() {
        fact.insert("options".into(), Json::Object(options));
    }
    Json::Object(fact)
}

fn scalar(kind: &Kind) -> (String, &'static str) {
    match kind {
        Kind::Message(message) => (message.full_name().to_owned(), "message"),
        Kind::Enum(values) => (values.full_name().to_owned(), "enum"),
        Kind::String => ("string".into(), "string"),
        Kind::Bool => ("bool".into(), "bool"),
        Kind::Int32 => ("int32".into(), "int32"),
        Kind::Int64 => ("int64".into(), "int64"),
        Kind::Bytes => ("bytes".into(), "bytes"),
        other => panic!("the facts know no {other:?}"),
    }
}

fn field(descriptor: &FieldDescriptor) -> Json {
    let mut fact = Map::new();
    fact.insert("name".into(), json!(descriptor.name()));
    fact.insert("number".into(), json!(descriptor.number()));
    if descriptor.is_map() {
        let Kind::Message(entry) = descriptor.kind() else { panic!("a map is made of entries") };
        let (key, value) = (scalar(&entry.map_entry_key_field().kind()), scalar(&entry.map_entry_value_field().kind()));
        fact.insert("label".into(), json!("map"));
        fact.insert("kind".into(), json!("map"));
        fact.insert("type".into(), json!(format!("map<{}, {}>", key.0, value.0)));
        fact.insert("key".into(), json!(key.0));
        fact.insert("value".into(), json!(value.0));
    } else {
        let (name, kind) = scalar(&descriptor.kind());
        let repeated = descriptor.cardinality() == Cardinality::Repeated;
        fact.insert("label".into(), json!(if repeated { "repeated" } else { "singular" }));
        fact.insert("kind".into(), json!(kind));
        fact.insert("type".into(), json!(name));
    }
    if let Some(oneof) = descriptor.containing_oneof() {
        fact.insert("oneof".into(), json!(oneof.name()));
    }
    with_options(fact, &descriptor.options())
}

fn enumeration(descriptor: &EnumDescriptor) -> Json {
    let values: Vec<Json> = descriptor
        .values()
        .map(|value| {
            let mut fact = Map::new();
            fact.insert("name".into(), json!(value.name()));
            fact.insert("number".into(), json!(value.number()));
            with_options(fact, &value.options())
        })
        .collect();
    let mut fact = Map::new();
    fact.insert("name".into(), json!(descriptor.name()));
    fact.insert("full_name".into(), json!(descriptor.full_name()));
    fact.insert("values".into(), json!(values));
    with_options(fact, &descriptor.options())
}

fn message(descriptor: &MessageDescriptor) -> Json {
    let mut fact = Map::new();
    fact.insert("name".into(), json!(descriptor.name()));
    fact.insert("full_name".into(), json!(descriptor.full_name()));
    // The facts list fields in the order of the file; numbers decide for both sides here.
    fact.insert("fields".into(), json!(descriptor.fields().map(|it| field(&it)).collect::<Vec<_>>()));
    let oneofs: Vec<String> = descriptor.oneofs().map(|it| it.name().to_owned()).collect();
    if !oneofs.is_empty() {
        fact.insert("oneofs".into(), json!(oneofs));
    }
    let inner: Vec<Json> = descriptor.child_messages().filter(|it| !it.is_map_entry()).map(|it| message(&it)).collect();
    if !inner.is_empty() {
        fact.insert("messages".into(), json!(inner));
    }
    let enums: Vec<Json> = descriptor.child_enums().map(|it| enumeration(&it)).collect();
    if !enums.is_empty() {
        fact.insert("enums".into(), json!(enums));
    }
    with_options(fact, &descriptor.options())
}

/// Fields in the order of their numbers.
fn ordered(mut fact: Json) -> Json {
    if let Some(fields) = fact.get_mut("fields").and_then(Json::as_array_mut) {
        fields.sort_by_key(|field| field["number"].as_u64());
    }
    if let Some(inner) = fact.get_mut("messages").and_then(Json::as_array_mut) {
        inner.iter_mut().for_each(|message| *message = ordered(message.take()));
    }
    fact
}

#[test]
fn every_message_is_as_the_facts_say() {
    let pool = pool();
    let facts = facts();
    let messages = facts["messages"].as_array().unwrap();
    for fact in messages {
        let name = fact["full_name"].as_str().unwrap();
        let ours = pool.get_message_by_name(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(ordered(message(&ours)), ordered(fact.clone()), "{name}");
    }
    let all = pool.all_messages().filter(|it| it.package_name() == "csi.v1" && !it.is_map_entry()).count();
    assert_eq!(all, 94);
    let top = pool.all_messages().filter(|it| it.package_name() == "csi.v1" && it.parent_message().is_none()).count();
    assert_eq!(top, messages.len());
}

#[test]
fn every_top_level_enum_is_as_the_facts_say() {
    let pool = pool();
    for fact in facts()["enums"].as_array().unwrap() {
        let name = fact["full_name"].as_str().unwrap();
        assert_eq!(&enumeration(&pool.get_enum_by_name(name).unwrap()), fact, "{name}");
    }
}

#[test]
fn every_service_and_method_is_as_the_facts_say() {
    let pool = pool();
    let facts = facts();
    let services = facts["services"].as_array().unwrap();
    let mut methods = 0;
    for fact in services {
        let name = fact["full_name"].as_str().unwrap();
        let ours = pool.get_service_by_name(name).unwrap_or_else(|| panic!("{name} is missing"));
        let described: Vec<Json> = ours
            .methods()
            .map(|method| {
                methods += 1;
                let mut fact = Map::new();
                fact.insert("name".into(), json!(method.name()));
                fact.insert("path".into(), json!(format!("/{name}/{}", method.name())));
                fact.insert("input".into(), json!(method.input().full_name()));
                fact.insert("output".into(), json!(method.output().full_name()));
                fact.insert("client_streaming".into(), json!(method.is_client_streaming()));
                fact.insert("server_streaming".into(), json!(method.is_server_streaming()));
                with_options(fact, &method.options())
            })
            .collect();
        let mut ours_fact = Map::new();
        ours_fact.insert("name".into(), json!(ours.name()));
        ours_fact.insert("full_name".into(), json!(ours.full_name()));
        ours_fact.insert("methods".into(), json!(described));
        assert_eq!(&with_options(ours_fact, &ours.options()), fact, "{name}");
    }
    assert_eq!((services.len(), methods), (5, 32));
}

#[test]
fn every_extension_has_its_number_and_extends_what_the_facts_say() {
    let pool = pool();
    let facts = facts();
    for fact in facts["extensions"].as_array().unwrap() {
        let ours = pool.get_extension_by_name(fact["full_name"].as_str().unwrap()).unwrap();
        assert_eq!(json!(ours.number()), fact["number"], "{}", ours.full_name());
        assert_eq!(json!(ours.containing_message().full_name()), fact["extendee"], "{}", ours.full_name());
        assert_eq!(ours.default_value(), Value::Bool(false));
    }
}

#[test]
fn the_registration_service_has_its_two_methods_and_their_fields() {
    let pool = pool();
    let service = pool.get_service_by_name("pluginregistration.Registration").unwrap();
    let methods: Vec<String> =
        service.methods().map(|it| format!("{}({}) {}", it.name(), it.input().name(), it.output().name())).collect();
    assert_eq!(
        methods,
        ["GetInfo(InfoRequest) PluginInfo", "NotifyRegistrationStatus(RegistrationStatus) RegistrationStatusResponse"]
    );
    let fields = |name: &str| -> Vec<(u32, String, String, bool)> {
        pool.get_message_by_name(name)
            .unwrap()
            .fields()
            .map(|it| (it.number(), it.name().to_owned(), scalar(&it.kind()).0, it.is_list()))
            .collect()
    };
    let text = |number, name: &str, list| (number, name.to_owned(), "string".to_owned(), list);
    assert_eq!(
        fields("pluginregistration.PluginInfo"),
        [
            text(1, "type", false),
            text(2, "name", false),
            text(3, "endpoint", false),
            text(4, "supported_versions", true)
        ]
    );
    assert_eq!(
        fields("pluginregistration.RegistrationStatus"),
        [(1, "plugin_registered".to_owned(), "bool".to_owned(), false), text(2, "error", false)]
    );
}

/// Compiles `proto/` as it stands: the encoded descriptors and the modules that are generated from them, by file name.
fn generated() -> Vec<(String, Vec<u8>)> {
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/history/proto");
    let mut compiler = protox::Compiler::new([proto]).unwrap();
    compiler.include_imports(true).open_files(["csi/v1/csi.proto", "pluginregistration/v1/api.proto"]).unwrap();
    // The encoded form keeps the custom options (csi_secret), which the decoded one drops.
    let descriptors = compiler.encode_file_descriptor_set();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .btree_map(".")
        .out_dir(out.path())
        .compile_fds(prost::Message::decode(&*descriptors).unwrap())
        .unwrap();
    let mut files = vec![("descriptor.bin".to_owned(), descriptors)];
    for name in ["csi.v1.rs", "pluginregistration.rs"] {
        files.push((name.to_owned(), std::fs::read(out.path().join(name)).unwrap()));
    }
    files
}

#[test]
fn what_is_generated_is_what_the_protocol_files_say() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/history/src/csi/generated");
    for (name, content) in generated() {
        let path = kept.join(&name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &content).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap() == content,
            "{} is not what crates/history/proto says: UPDATE=1 cargo test --test proto",
            path.display()
        );
    }
}
