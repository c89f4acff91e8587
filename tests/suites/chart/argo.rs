//! Argo CD's health script, run by a Lua such as Argo CD has one, for every turn that a checkpoint can take.

use rig::Node;
use serde_json::{Value, json};

use super::{read, repository};

/// A checkpoint whose status has these conditions and has seen generation 1.
fn checkpoint(conditions: &[(&str, &str, &str)]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, status, message)| json!({"type": kind, "status": status, "message": message}))
        .collect();
    json!({
        "metadata": {"name": "a", "generation": 1},
        "status": {"observedGeneration": 1, "conditions": conditions},
    })
}

/// Objects, and what is to be said of them.
#[rustfmt::skip]
fn turns() -> Vec<(Value, &'static str, &'static str)> {
    let mut changed_later = checkpoint(&[("Complete", "True", ""), ("Ready", "True", "it is here"), ("Stalled", "False", "")]);
    changed_later["metadata"]["generation"] = json!(2);
    let mut behind = checkpoint(&[("Ready", "False", ""), ("Reconciling", "True", "waits")]);
    behind["metadata"]["generation"] = json!(2);
    let mut as_asked = checkpoint(&[("Ready", "True", "it is here"), ("Restorable", "False", "no changed files")]);
    as_asked["status"]["conditions"][1]["reason"] = json!("PartsMissing");
    vec![
        (as_asked, "Healthy", "it is here"),
        (json!({"metadata": {"generation": 1}}), "Progressing", "has not seen it"),
        (json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}), "Progressing", "has not seen it"),
        (behind, "Progressing", "has not seen it"),
        (checkpoint(&[("Complete", "False", "x"), ("Ready", "False", "x"), ("Reconciling", "True", "CRIU dumps")]), "Progressing", "CRIU dumps"),
        (checkpoint(&[("Complete", "False", "x"), ("Ready", "False", "x"), ("Reconciling", "True", "no agent yet")]), "Progressing", "no agent yet"),
        (checkpoint(&[("Reconciling", "True", "x"), ("LazyPagesReady", "True", "from port 7")]), "Suspended", "from port 7"),
        (checkpoint(&[("Complete", "True", "x"), ("Ready", "True", "it is here"), ("Reconciling", "False", "x"), ("Stalled", "False", "x")]), "Healthy", "it is here"),
        (changed_later, "Healthy", "it is here"),
        (checkpoint(&[("Ready", "True", "x"), ("LazyPagesReady", "False", "all fetched")]), "Healthy", "x"),
        (checkpoint(&[("Ready", "True", "x"), ("Restorable", "False", "pages are gone")]), "Degraded", "pages are gone"),
        (checkpoint(&[("Complete", "True", "x"), ("Ready", "False", "too long"), ("Reconciling", "False", "x"), ("Stalled", "True", "too long")]), "Degraded", "too long"),
    ]
}

#[test]
#[ignore = "needs the node root: run make test"]
fn argo_cd_is_told_the_health_of_every_turn() {
    let node = Node::shared();
    let script = node.put("health.lua", read(&repository("docs/argocd/health.lua")));
    for (object, status, message) in turns() {
        // As Argo CD does: the object is the global `obj`, and the script's value is the answer.
        let caller = format!(
            "obj = {}\nlocal health = dofile('{script}')\nprint(health.status .. ': ' .. health.message)\n",
            lua(&object)
        );
        let caller = node.put("call.lua", caller);
        let said = node.run(&["lua5.4", &caller]).ok().stdout;
        let expected = format!("{status}: ");
        assert!(
            said.starts_with(&expected) && said.contains(message),
            "{object}: {said}"
        );
    }
}

/// A value as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(lua).collect();
            format!("{{{}}}", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("[\"{name}\"] = {}", lua(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}
