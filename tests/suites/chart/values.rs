//! What Helm says to the chart itself: its lints, and values that are none.

use std::fs;

use serde_json::{Value, json};

use super::{CHARTS, Chart, read, repository};

#[test]
#[ignore = "needs the node root: run make test"]
fn helm_has_nothing_to_say_against_the_chart() {
    let chart = format!("{CHARTS}/stillframe");
    let lint = Chart::shared().helm(&["lint", "--strict", &chart]).ok();
    assert!(lint.stdout.contains("0 chart(s) failed"), "{lint:#?}");
    assert!(!lint.stdout.contains("[WARNING]"), "{lint:#?}");
}

/// Values that are none, and what the refusal has to name.
#[rustfmt::skip]
fn wrong() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"operators": {}}), "operators"),
        (json!({"operator": {"replica": 2}}), "replica"),
        (json!({"operator": {"replicas": "two"}}), "/operator/replicas"),
        (json!({"operator": {"networkPolicy": {"apiServerPorts": []}}}), "/operator/networkPolicy/apiServerPorts"),
        (json!({"operator": {"networkPolicy": {"apiServerPorts": [70000]}}}), "/operator/networkPolicy/apiServerPorts/0"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        (json!({"agent": {"image": {"digest": "latest"}}}), "/agent/image/digest"),
        (json!({"agent": {"criu": "container"}}), "/agent/criu"),
        (json!({"agent": {"criuConfig": "/"}}), "/agent/criuConfig"),
        (json!({"agent": {"imageRoot": "var/lib"}}), "/agent/imageRoot"),
        (json!({"agent": {"imageRoot": "/var/lib/../../etc"}}), "/agent/imageRoot"),
        (json!({"agent": {"reserve": "much"}}), "/agent/reserve"),
        (json!({"agent": {"namespaceLimit": "10GB"}}), "/agent/namespaceLimit"),
        (json!({"agent": {"concurrency": 0}}), "/agent/concurrency"),
        (json!({"agent": {"dumpCgroup": "/stillframe"}}), "/agent/dumpCgroup"),
        (json!({"agent": {"dumpCgroup": "../kubepods"}}), "/agent/dumpCgroup"),
        (json!({"agent": {"runtimeDirs": []}}), "/agent/runtimeDirs"),
        (json!({"agent": {"extraEnv": [{"value": "x"}]}}), "/agent/extraEnv/0"),
        (json!({"agent": {"metrics": {"address": "here"}}}), "/agent/metrics/address"),
        (json!({"agent": {"updateMaxUnavailable": "0%"}}), "/agent/updateMaxUnavailable"),
        (json!({"pageServers": {"allowed": ["host.example"]}}), "/pageServers/allowed/0"),
        (json!({"pageServers": {"allowedNames": ["host name"]}}), "/pageServers/allowedNames/0"),
        (json!({"priorityClass": {"value": 2_000_000_000}}), "/priorityClass/value"),
        (json!({"log": {"format": "xml"}}), "/log/format"),
        (json!({"policies": {"enabled": "yes"}}), "/policies/enabled"),
        (json!({"monitoring": {"interval": "often"}}), "/monitoring/interval"),
        // What the schema cannot tell.
        (json!({"monitoring": {"podMonitor": {"enabled": true}}}), "agent.metrics.enabled"),
        (json!({"pageServers": {"allowedNames": ["host.example"]}}), "pageServers.allowed "),
    ]
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_wrong_value_is_refused_by_its_name() {
    for (values, named) in wrong() {
        let said = Chart::shared().template(&values, &[]);
        assert!(!said.succeeded(), "{values} was accepted");
        assert!(
            said.stderr.contains(named),
            "{values} is refused without {named}: {}",
            said.stderr
        );
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn the_plain_manifests_are_what_the_chart_makes() {
    let node = Chart::shared().node;
    node.shell("mkdir -p /run/rig/deploy").ok();
    node.run(&["bash", "/run/rig/charts/render", "/run/rig/deploy"])
        .ok();
    for name in ["crds.yaml", "install.yaml", "kustomization.yaml"] {
        let made = read(&node.path(format!("deploy/{name}")));
        let committed = read(&repository("deploy").join(name));
        assert!(
            made == committed,
            "deploy/{name} is not what the chart makes: run `make chart`"
        );
    }
}

#[test]
fn the_chart_has_the_version_of_the_programs() {
    let chart = read(&repository("charts/stillframe/Chart.yaml"));
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        chart.contains(&format!("\nappVersion: \"{version}\"\n")),
        "{chart}"
    );
}

#[test]
fn every_value_has_a_line_that_says_what_it_is() {
    let values = read(&repository("charts/stillframe/values.yaml"));
    let lines: Vec<&str> = values.lines().collect();
    let is_value = |line: &str| !line.trim().is_empty() && !is_comment(line);
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_value(line)) {
        let next = lines.get(at + 1);
        let holds_others = next.is_some_and(|next| depth(next) > depth(line));
        assert!(
            holds_others || is_explained(&lines, at),
            "nothing says what this is: {line}"
        );
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether there is a comment above this line and those of its kind right above it, or above what it is part of.
fn is_explained(lines: &[&str], at: usize) -> bool {
    for (above, line) in lines[..at].iter().enumerate().rev() {
        if line.trim().is_empty() || depth(line) > depth(lines[at]) {
            return false;
        }
        if depth(line) < depth(lines[at]) {
            return is_explained(lines, above);
        }
        if is_comment(line) {
            return true;
        }
    }
    false
}

#[test]
fn every_policy_is_enforced() {
    let folder = repository("charts/stillframe/templates/policies");
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let text = read(&entry.path());
        let (policies, bindings) = (
            text.matches("kind: ValidatingAdmissionPolicy\n").count(),
            text.matches("include \"stillframe.binding\"").count()
                + text
                    .matches("kind: ValidatingAdmissionPolicyBinding")
                    .count(),
        );
        let name = entry.path();
        assert!(
            policies > 0 && policies == bindings,
            "{} has {policies} policies and {bindings} bindings",
            name.display()
        );
        assert!(text.contains("failurePolicy: Fail"), "{}", name.display());
    }
}
