//! The custom resource definitions as the API server takes them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

use crate::{CheckpointNode, ContainerCheckpoint, PageReceiver};

/// Every definition, with the name of the file that holds it.
#[must_use]
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 3] {
    let mut checkpoint = ContainerCheckpoint::crd();
    let mut receiver = PageReceiver::crd();
    let mut node = CheckpointNode::crd();
    for_each_schema(&mut checkpoint, &mut plain);
    for_each_schema(&mut receiver, &mut plain);
    for_each_schema(&mut node, &mut plain);
    start_unseen(&mut checkpoint);
    start_unseen(&mut receiver);
    [
        ("containercheckpoints.yaml", checkpoint),
        ("pagereceivers.yaml", receiver),
        ("checkpointnodes.yaml", node),
    ]
}

/// An object has a status from its first moment, of a generation that never was: otherwise kstatus
/// calls an object healthy that nobody has looked at yet.
fn start_unseen(definition: &mut CustomResourceDefinition) {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut();
        let root = schema.and_then(|s| s.open_api_v3_schema.as_mut());
        let properties = root.and_then(|root| root.properties.as_mut());
        if let Some(status) = properties.and_then(|all| all.get_mut("status")) {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
        }
    }
}

/// An optional field is left out and never null, so that the rules know one way alone to say
/// nothing. Formats that only Rust has are no formats of the API: kubectl warns of them.
fn plain(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    let foreign = |format: &str| format.starts_with("uint");
    if schema.format.as_deref().is_some_and(foreign) {
        schema.format = None;
    }
}

fn for_each_schema(
    definition: &mut CustomResourceDefinition,
    change: &mut impl FnMut(&mut JSONSchemaProps),
) {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(root) = schema.and_then(|s| s.open_api_v3_schema.as_mut()) {
            visit(root, change);
        }
    }
}

fn visit(schema: &mut JSONSchemaProps, change: &mut impl FnMut(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|all| all.values_mut())
    {
        visit(property, change);
    }
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => visit(item, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => {
            for item in items {
                visit(item, change);
            }
        }
        None => {}
    }
}
