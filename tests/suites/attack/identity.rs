//! Somebody who has a token, and asks the API server with it as `curl` does: no client is in between that would refuse first.

use rig::{Cluster, Mission};
use serde_json::{Value, json};

/// Where the operator is installed.
pub(crate) const OPERATOR: (&str, &str) = ("stillframe-system", "stillframe-operator");

/// Where the agents are installed.
pub(crate) const AGENT: (&str, &str) = ("stillframe-agents", "stillframe-node-agent");

/// The path of the namespace `default`'s checkpoints.
pub(crate) const CHECKPOINTS: &str =
    "/apis/stillframe.dev/v1alpha1/namespaces/default/containercheckpoints";

/// The cluster with the project installed in it.
pub(crate) fn cluster() -> &'static Cluster {
    Mission::shared().cluster()
}

/// Who has this token.
#[derive(Debug)]
pub(crate) struct Identity {
    token: String,
}

/// What the API server has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) code: u16,
    /// What it says: an object, or a `Status`.
    pub(crate) body: Value,
}

impl Identity {
    /// A service account, with a token that is bound to nothing.
    pub(crate) fn of((namespace, account): (&str, &str)) -> Self {
        Self::with(namespace, account, &[])
    }

    /// An agent, with the token that a pod on this node has.
    pub(crate) fn agent_of(node: &str) -> Self {
        let (namespace, account) = AGENT;
        let bound = ["--bound-object-kind=Node", "--bound-object-name", node];
        Self::with(namespace, account, &bound)
    }

    /// A user of the namespace `default` who may do this and nothing else.
    pub(crate) fn with_rights(name: &str, rules: &Value) -> Self {
        let about = |kind: &str, group: &str| {
            json!({"apiVersion": format!("{group}v1"), "kind": kind,
                "metadata": {"name": name, "namespace": "default"}})
        };
        let rbac = "rbac.authorization.k8s.io/";
        let mut role = about("Role", rbac);
        role["rules"] = rules.clone();
        let mut binding = about("RoleBinding", rbac);
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
        binding["subjects"] =
            json!([{"kind": "ServiceAccount", "name": name, "namespace": "default"}]);
        for object in [about("ServiceAccount", ""), role, binding] {
            cluster().apply(&object.to_string());
        }
        Self::of(("default", name))
    }

    fn with(namespace: &str, account: &str, bound: &[&str]) -> Self {
        let mut args = vec!["create", "token", account, "--namespace", namespace];
        args.extend(bound);
        let token = cluster().kubectl(&args).trim().to_owned();
        Self { token }
    }

    /// Asks, whatever comes of it.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let node = cluster().node(0);
        let file = node.put(&node.unique("body"), body.to_string());
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let url = format!("https://{}:6443{path}", cluster().node_address(0));
        let mut args = vec!["--silent", "--cacert", "/run/rig/pki/ca.crt"];
        let header = format!("Authorization: Bearer {}", self.token);
        let kind = format!("Content-Type: {kind}");
        let data = format!("@{file}");
        args.extend(["--request", method, "--header", &header, "--header", &kind]);
        args.extend(["--write-out", "\n%{http_code}"]);
        if !body.is_null() {
            args.extend(["--data-binary", &data]);
        }
        args.push(&url);
        let said = node.command("curl").args(&args).output().ok().stdout;
        let (text, code) = said.rsplit_once('\n').expect("curl tells the status");
        Answer {
            code: code.parse().expect("a status is a number"),
            body: serde_json::from_str(text).unwrap_or_else(|_| json!({"message": text})),
        }
    }

    /// Asks for what has to be refused, in these words.
    pub(crate) fn refused(&self, (method, path, body): (&str, &str, Value), says: &str) {
        let answer = self.ask(method, path, &body);
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(
            (400..500).contains(&answer.code) && answer.code != 404,
            "{method} {path} {body:.300}: {answer:#?}"
        );
        assert!(
            message.contains(says),
            "{method} {path} is refused without {says:?}: {message}"
        );
    }

    /// Asks for what has to be done.
    pub(crate) fn allowed(&self, (method, path, body): (&str, &str, Value)) -> Value {
        let answer = self.ask(method, path, &body);
        assert!(answer.code < 300, "{method} {path}: {answer:#?}");
        answer.body
    }
}
