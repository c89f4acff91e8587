use serde_json::{Value, json};

use super::*;
use crate::controller::sample::object;

fn put(store: &mut Store, name: &str, version: &str, patch: &Value) -> bool {
    let mut object = object(patch);
    object.metadata.name = Some(name.to_owned());
    object.metadata.uid = Some(format!("uid-{name}"));
    object.metadata.resource_version = Some(version.to_owned());
    store.put(object)
}

#[test]
fn an_older_version_never_takes_a_newer_one_s_place() {
    let mut store = Store::default();
    let ended = json!({"status": {"completionTime": "2026-01-01T00:00:50Z"}});
    assert!(put(&mut store, "a", "9", &json!({})));
    assert!(!put(&mut store, "a", "9", &json!({})), "it is no news");
    assert!(put(&mut store, "a", "10", &ended));
    assert!(!put(&mut store, "a", "9", &json!({})));
    assert!(store.get("uid-a").is_none(), "it has ended");
}

#[test]
fn of_a_finished_checkpoint_only_its_place_in_a_chain_is_kept() {
    let mut store = Store::default();
    let ended = |more: Value| {
        let mut status = json!({"completionTime": "2026-01-01T00:00:50Z"});
        crate::controller::sample::merge(&mut status, &more);
        json!({"status": status})
    };
    put(&mut store, "a", "1", &ended(json!({})));
    put(
        &mut store,
        "b",
        "2",
        &ended(json!({"artifact": {"parts": [], "parent": "a"}})),
    );
    let waiting = json!({"spec": {"options": {"parentRef": {"name": "a"}}}});
    put(&mut store, "c", "3", &waiting);
    assert_eq!(store.children_of("shop", "a"), ["b", "c"]);
    assert!(store.children_of("other", "a").is_empty());
    let image = store.image_of("shop", "a").unwrap();
    assert_eq!(image.0, "a-uid-a");
    assert!(store.image_of("shop", "c").is_none(), "it is not finished");
    store.remove("uid-b");
    assert_eq!(store.children_of("shop", "a"), ["c"]);
    assert_eq!(store.open().len(), 1);
}
