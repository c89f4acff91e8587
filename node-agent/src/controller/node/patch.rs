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
    use serde_json::json;

    use super::*;

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
