//! The reference of every field, made from the definitions themselves.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionVersion,
    JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};

use crate::manifest;

/// The page `docs/reference.md`.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Reference\n\nEvery field of the API group `stillframe.dev`, as `kubectl explain` tells it too. `make generate` writes this page from the definitions in\n\
         `crds/yaml`; what the words in `reason` fields mean is in [reasons.md](reasons.md).\n",
    );
    for (_, definition) in manifest::definitions() {
        chapter(&mut page, &definition);
    }
    page
}

fn chapter(page: &mut String, definition: &CustomResourceDefinition) {
    let names = &definition.spec.names;
    for version in &definition.spec.versions {
        let _ = write!(
            page,
            "\n## {} ({}/{})\n\n{}; short names: {}.\n",
            names.kind,
            definition.spec.group,
            version.name,
            definition.spec.scope,
            list(names.short_names.as_deref().unwrap_or_default()),
        );
        columns(page, version);
        let schema = version.schema.as_ref();
        let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
            continue;
        };
        for part in ["spec", "status"] {
            let properties = root.properties.as_ref();
            let Some(part_schema) = properties.and_then(|all| all.get(part)) else {
                continue;
            };
            let mut table = String::new();
            rows(&mut table, part, part_schema);
            if !table.is_empty() {
                let head = "| field | type | meaning |\n|---|---|---|";
                let _ = write!(page, "\n### {part}\n\n{head}\n{table}");
            }
        }
        let mut rules = Vec::new();
        collect(root, "", &mut rules);
        if !rules.is_empty() {
            page.push_str("\n### What is refused\n\n| at | message |\n|---|---|\n");
            for (path, rule) in rules {
                let message = rule.message.as_deref().unwrap_or(&rule.rule);
                let _ = writeln!(page, "| `{path}` | {} |", cell(message));
            }
        }
    }
}

fn columns(page: &mut String, version: &CustomResourceDefinitionVersion) {
    let shown = |column: &CustomResourceColumnDefinition| {
        format!("{} (`{}`)", column.name, column.json_path)
    };
    let columns = version.additional_printer_columns.iter().flatten();
    let columns: Vec<String> = columns.map(shown).collect();
    let _ = writeln!(page, "`kubectl get` shows {}.", columns.join(", "));
    let selectable = version.selectable_fields.iter().flatten();
    let selectable: Vec<String> = selectable
        .map(|field| format!("`{}`", field.json_path.trim_start_matches('.')))
        .collect();
    if !selectable.is_empty() {
        let _ = writeln!(page, "`--field-selector` takes {}.", selectable.join(", "));
    }
}

fn rows(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let mut facts = vec![kind(property)];
        if required.contains(name) {
            facts.push("required".to_owned());
        }
        facts.extend(default(property));
        facts.extend(bounds(property));
        let meaning = property.description.as_deref().unwrap_or_default();
        let _ = writeln!(
            page,
            "| `{path}` | {} | {} |",
            facts.join("; "),
            cell(meaning)
        );
        rows(page, &path, property);
        // Conditions are the same in every API.
        if name == "conditions" {
            continue;
        }
        if let Some(JSONSchemaPropsOrArray::Schema(item)) = &property.items {
            rows(page, &format!("{path}[]"), item);
        }
    }
}

fn kind(schema: &JSONSchemaProps) -> String {
    if let Some(values) = &schema.enum_ {
        let values: Vec<String> = values.iter().map(|value| value.0.to_string()).collect();
        return format!("one of `{}`", values.join("`, `"));
    }
    let name = |schema: &JSONSchemaProps| {
        let name = schema.type_.clone().unwrap_or_else(|| "any".to_owned());
        schema.format.clone().unwrap_or(name)
    };
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => format!("list of {}", kind(item)),
        _ => name(schema),
    }
}

/// What a field is when nobody says; an object's is told by its own fields.
fn default(schema: &JSONSchemaProps) -> Option<String> {
    let value = schema.default.as_ref()?.0.to_string();
    let says_something = !value.starts_with('{') && value != "\"\"" && value != "0";
    says_something.then(|| format!("default `{value}`"))
}

fn bounds(schema: &JSONSchemaProps) -> Option<String> {
    let number = |number: &Option<f64>| number.map(|number| format!("{number}"));
    let ends = match (number(&schema.minimum), number(&schema.maximum)) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    };
    let length = schema
        .max_length
        .map(|most| format!("at most {most} characters"));
    let items = schema.max_items.map(|most| format!("at most {most}"));
    ends.or(length).or(items)
}

/// Every rule below a schema, with the path of what it is about.
fn collect<'a>(
    schema: &'a JSONSchemaProps,
    path: &str,
    found: &mut Vec<(String, &'a ValidationRule)>,
) {
    let here = if path.is_empty() { "the object" } else { path };
    let rules = schema.x_kubernetes_validations.iter().flatten();
    found.extend(rules.map(|rule| (here.to_owned(), rule)));
    for (name, property) in schema.properties.iter().flatten() {
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(property, &below, found);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        collect(item, &format!("{path}[]"), found);
    }
}

/// In one cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
