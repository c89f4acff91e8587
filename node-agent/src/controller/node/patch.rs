//! What to send so that one JSON document becomes another.

use serde_json::{Map, Value};

/// The merge patch (RFC 7386) from `old` to `new`; `None` when they are equal. `new` must hold no
/// null, which a merge patch cannot write.
pub(super) fn between(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let gone = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let patch = match old.get(key) {
            Some(earlier) => between(earlier, value)?,
            None => value.clone(),
        };
        Some((key.clone(), patch))
    });
    Some(Value::Object(gone.chain(changed).collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// What a server makes of a merge patch, as RFC 7386 has it.
    fn applied(old: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch.clone();
        };
        let mut merged = match old {
            Value::Object(old) => old,
            _ => Map::new(),
        };
        for (key, value) in patch {
            if value.is_null() {
                merged.remove(key);
            } else {
                let earlier = merged.remove(key).unwrap_or_default();
                merged.insert(key.clone(), applied(earlier, value));
            }
        }
        Value::Object(merged)
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..4).prop_map(Value::from),
            Just(json!([1, 2])),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            proptest::collection::btree_map("[a-c]", inner, 0..4).prop_map(|members| json!(members))
        })
    }

    proptest! {
        #[test]
        fn a_patched_document_is_the_new_one(old in document(), new in document()) {
            let patched = match between(&old, &new) {
                Some(patch) => applied(old, &patch),
                None => old,
            };
            prop_assert_eq!(patched, new);
        }
    }

    #[test]
    fn only_what_differs_is_sent() {
        let old = json!({"a": 1, "b": {"c": [1], "d": 2}, "e": "gone"});
        let new = json!({"a": 1, "b": {"c": [2], "d": 2}, "f": {}});
        let patch = json!({"b": {"c": [2]}, "e": null, "f": {}});
        assert_eq!(between(&old, &new), Some(patch));
        assert_eq!(between(&new, &new), None);
        assert_eq!(between(&Value::Null, &new), Some(new.clone()));
    }
}
