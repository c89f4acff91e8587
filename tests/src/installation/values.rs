//! What the chart is installed with.

use serde_json::{Value, json};

/// Values of the chart, beside its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(Value);

impl Default for Values {
    /// What is special about a node of the rig: one operator is enough, since nobody drains its node.
    fn default() -> Self {
        Self(json!({"operator": {"replicas": 1}}))
    }
}

impl Values {
    /// Sets a value by its path, for instance `agent.imageRoot`.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        *self.at(path) = value.into();
        self
    }

    /// Gives the agents an argument more.
    #[must_use]
    pub fn agent_arg(mut self, argument: impl Into<String>) -> Self {
        push(self.at("agent.extraArgs"), json!(argument.into()));
        self
    }

    /// Sets a variable of the agents' environment.
    #[must_use]
    pub fn agent_env(mut self, name: &str, value: &str) -> Self {
        push(
            self.at("agent.extraEnv"),
            json!({"name": name, "value": value}),
        );
        self
    }

    fn at(&mut self, path: &str) -> &mut Value {
        path.split('.')
            .fold(&mut self.0, |value, key| &mut value[key])
    }

    /// As a file for Helm.
    pub(super) fn file(&self) -> String {
        self.0.to_string()
    }
}

fn push(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    } else {
        *list = json!([value]);
    }
}
