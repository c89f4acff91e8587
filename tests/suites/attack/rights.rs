//! What the two service accounts may do, held against the table of the threat model.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rig::Mission;
use serde_json::{Value, json};

use crate::identity::{AGENT, Identity, OPERATOR};

/// A row of the table: account, namespace, resource, names, verbs.
type Row = [String; 5];

/// What `kubectl auth can-i --list` asks for.
fn rights(who: &Identity, namespace: &str) -> BTreeSet<[String; 3]> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = who.allowed(("POST", path, review));
    assert_eq!(answer["status"]["incomplete"], false, "{answer:#}");
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let all = rule[field].as_array().into_iter().flatten();
        all.filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let mut found = BTreeSet::new();
    for rule in answer["status"]["resourceRules"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let mut verbs = texts(rule, "verbs");
        verbs.sort();
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let resource = match resource.split_once('/') {
                    _ if group.is_empty() => resource,
                    Some((resource, sub)) => format!("{resource}.{group}/{sub}"),
                    None => format!("{resource}.{group}"),
                };
                found.insert([
                    resource,
                    texts(rule, "resourceNames").join(" "),
                    verbs.join(" "),
                ]);
            }
        }
    }
    found
}

/// The rows of the table in the threat model.
fn documented() -> BTreeSet<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/threat-model.md");
    let page = fs::read_to_string(&page).expect("the threat model");
    let table = page
        .split("<!-- rights -->")
        .nth(1)
        .expect("the table of rights");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells = line.trim_matches('|').split('|');
        let cells: Vec<String> = cells
            .map(|cell| cell.replace('`', "").trim().to_owned())
            .collect();
        cells
            .try_into()
            .unwrap_or_else(|cells| panic!("{cells:?} is no row of five"))
    })
    .collect()
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_service_accounts_may_do_what_the_threat_model_says_and_no_more() {
    Mission::shared();
    let nobody = Identity::of(("default", "default"));
    let mut found = BTreeSet::new();
    for account in [OPERATOR, AGENT] {
        let who = Identity::of(account);
        let anywhere = rights(&who, "default");
        for namespace in ["default", OPERATOR.0, AGENT.0] {
            let everybody = rights(&nobody, namespace);
            for right in rights(&who, namespace).difference(&everybody) {
                let place = if anywhere.contains(right) {
                    "all"
                } else {
                    namespace
                };
                let [resource, names, verbs] = right.clone();
                found.insert([
                    account.1.to_owned(),
                    place.to_owned(),
                    resource,
                    names,
                    verbs,
                ]);
            }
        }
    }
    let documented = documented();
    let show = |rows: Vec<&Row>| -> String {
        let line = |row: &&Row| {
            format!(
                "| `{}` | {} | `{}` | {} | {} |\n",
                row[0], row[1], row[2], row[3], row[4]
            )
        };
        rows.iter().map(line).collect()
    };
    assert!(
        found == documented,
        "not in the threat model:\n{}there, and not so:\n{}",
        show(found.difference(&documented).collect()),
        show(documented.difference(&found).collect())
    );
}

/// The text of every suite, with the names of their files.
fn suites(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of suites").flatten() {
        let path = entry.path();
        if path.is_dir() {
            suites(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push_str(&path.to_string_lossy());
            found.push_str(&fs::read_to_string(&path).expect("a suite"));
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../docs/threat-model.md")).expect("the threat model");
    let mut all = String::new();
    for folder in ["suites", "../node-agent", "../crds/tests"] {
        suites(&here.join(folder), &mut all);
    }
    let mut named = 0;
    for word in page.split('`').skip(1).step_by(2) {
        let is_test = word.matches('_').count() > 3 && !word.contains(['.', '/', ' ']);
        let is_file = Path::new(word).extension().is_some_and(|end| end == "rs");
        if is_test {
            assert!(
                all.contains(&format!("fn {word}(")),
                "there is no test {word}"
            );
        } else if is_file {
            assert!(all.contains(word), "there is no suite {word}");
        }
        named += usize::from(is_test || is_file);
    }
    assert!(named > 20, "the threat model names {named} tests");
}
