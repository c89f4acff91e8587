//! The committed definitions are those of the types, and say something about every field.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use stillframe_crds::manifest;

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    for folder in ["yaml", "../charts/stillframe/files/crds"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let committed = fs::read_dir(&folder).unwrap().count();
        assert_eq!(committed, manifest::definitions().len(), "in {folder:?}");
        for (name, definition) in manifest::definitions() {
            let made = serde_saphyr::to_string(&definition).unwrap();
            let committed = fs::read_to_string(folder.join(name)).unwrap();
            assert!(
                made == committed,
                "{name} in {folder:?} is not what the types say: run `make generate`"
            );
        }
    }
}

#[test]
fn every_field_has_a_description() {
    for (name, definition) in manifest::definitions() {
        for (path, schema) in fields(&definition) {
            assert!(
                schema.description.is_some(),
                "{name}: {path} has no description"
            );
        }
    }
}

#[test]
fn numbers_texts_and_lists_of_the_spec_are_bounded() {
    let (_, definition) = manifest::definitions().into_iter().next().unwrap();
    for (path, schema) in fields(&definition)
        .into_iter()
        .filter(|(p, _)| p.starts_with(".spec"))
    {
        match schema.type_.as_deref() {
            Some("integer") => {
                assert!(
                    schema.minimum.is_some() && schema.maximum.is_some(),
                    "{path}"
                );
            }
            Some("string") => {
                assert!(
                    schema.max_length.is_some() || schema.enum_.is_some(),
                    "{path}"
                );
            }
            Some("array") => assert!(schema.max_items.is_some(), "{path}"),
            _ => {}
        }
    }
}

/// Every field below the spec and the status, with its path.
fn fields(definition: &CustomResourceDefinition) -> Vec<(String, JSONSchemaProps)> {
    let mut found = Vec::new();
    let versions = definition.spec.versions.iter();
    for schema in
        versions.filter_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref())
    {
        collect("", schema, &mut found);
    }
    assert!(!found.is_empty());
    found
}

fn collect(path: &str, schema: &JSONSchemaProps, found: &mut Vec<(String, JSONSchemaProps)>) {
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        collect(&path, property, found);
        found.push((path, property.clone()));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        collect(&format!("{path}[]"), item, found);
    }
}
