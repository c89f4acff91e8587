//! The committed reference of the fields is that of the definitions.

use std::{fs, path::Path};

use stillframe_crds::reference;

#[test]
fn the_committed_page_is_that_of_the_definitions() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == reference::page(),
        "docs/reference.md is not what the definitions say: run `make generate`"
    );
}

#[test]
fn nested_fields_their_defaults_and_bounds_and_the_rules_are_in_it() {
    let page = reference::page();
    for part in [
        "`spec.source.podName`",
        "`spec.options.pageServer.address`",
        "`status.artifact.parts[].digest`",
        "default `true`",
        "1 to 3600",
        "`--field-selector` takes `status.nodeName`",
        "tcpEstablished",
    ] {
        assert!(page.contains(part), "{part} is not in the reference");
    }
}
