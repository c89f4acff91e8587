//! The few fields of a pod that are decided on, so that nothing else of it is kept or even read.

use serde::{Deserialize, de::IgnoredAny};

/// A pod, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Who it is.
    pub metadata: Metadata,
    /// What it runs.
    pub spec: PodSpec,
    /// What became of it.
    pub status: PodStatus,
}

/// Who a pod is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Its UID at the API server.
    pub uid: String,
    /// When it is to be gone; set once somebody has deleted it.
    pub deletion_timestamp: Option<String>,
    /// What the kubelet notes on the pods that it made itself.
    pub annotations: Annotations,
}

/// The annotations of a static pod's image at the API server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// Present on the mirror of a static pod (`kubetypes.ConfigMirrorAnnotationKey`).
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub mirror: Option<String>,
    /// The UID of the static pod on its node (`kubetypes.ConfigHashAnnotationKey`).
    #[serde(rename = "kubernetes.io/config.hash")]
    pub hash: Option<String>,
}

/// What a pod runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Where it runs, once that is settled.
    pub node_name: Option<String>,
    /// What happens when one of its containers ends. Unset means Always.
    pub restart_policy: Option<RestartPolicy>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// What runs before them, or beside them when it restarts always.
    pub init_containers: Vec<Container>,
    /// What was added for debugging.
    pub ephemeral_containers: Vec<Container>,
}

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RestartPolicy {
    /// It is started again.
    Always,
    /// It is started again unless it ended with success.
    OnFailure,
    /// It is not started again.
    Never,
    /// A policy that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A container, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// Its own policy; Always makes an init container a sidecar.
    pub restart_policy: Option<RestartPolicy>,
    /// Exit codes with which it is treated otherwise.
    pub restart_policy_rules: Vec<IgnoredAny>,
    /// Restarts it when it fails.
    pub liveness_probe: Option<Probe>,
    /// Does so until it has first succeeded; the liveness probe begins then.
    pub startup_probe: Option<Probe>,
}

/// How a container is asked whether it lives.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Seconds between two questions. 10 unless set.
    pub period_seconds: Option<u32>,
    /// Seconds that an answer may take. 1 unless set.
    pub timeout_seconds: Option<u32>,
    /// Failures in a row after which the container is restarted. 3 unless set.
    pub failure_threshold: Option<u32>,
    /// Asks by HTTP.
    pub http_get: Option<IgnoredAny>,
    /// Asks by opening a connection.
    pub tcp_socket: Option<IgnoredAny>,
    /// Asks by gRPC.
    pub grpc: Option<IgnoredAny>,
}

impl Probe {
    /// Whether its packets pass the pod's network.
    #[must_use]
    pub fn uses_the_network(&self) -> bool {
        self.http_get.is_some() || self.tcp_socket.is_some() || self.grpc.is_some()
    }

    /// Seconds of silence that do not restart the container: the questions before the last one
    /// that counts may all fall into it, and the last one may wait for its answer; where the network
    /// is `locked`, for as long as its connection is still asked for. At least one, since there is
    /// no shorter bound. Kubernetes' defaults are those of `SetDefaults_Probe`.
    #[must_use]
    pub fn tolerance_seconds(&self, locked: bool) -> u32 {
        let positive = |given: Option<u32>, unless: u32| given.filter(|n| *n > 0).unwrap_or(unless);
        let failures = positive(self.failure_threshold, 3);
        let period = positive(self.period_seconds, 10);
        let timeout = positive(self.timeout_seconds, 1);
        let answered = if locked && self.uses_the_network() {
            last_attempt(timeout)
        } else {
            timeout
        };
        (failures - 1)
            .saturating_mul(period)
            .saturating_add(answered)
            .max(1)
    }
}

/// When a connection is asked for the last time within a probe's timeout, in seconds from its start: what a locked network swallows is
/// sent again after 1, 3, 7, … seconds (`TCP_TIMEOUT_INIT`, doubled each time).
fn last_attempt(timeout: u32) -> u32 {
    let mut last: u32 = 0;
    while last.saturating_mul(2) + 1 < timeout {
        last = last * 2 + 1;
    }
    last
}

/// What became of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: Option<String>,
    /// Of its containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// Of its init containers and sidecars.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Of its debugging containers.
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// What became of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name in the pod.
    pub name: String,
    /// Its id, with the runtime's scheme before it.
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    /// Its image, by the digest where the runtime tells it.
    #[serde(rename = "imageID")]
    pub image_id: Option<String>,
    /// Whether its startup probe has succeeded; true where there is none.
    pub started: Option<bool>,
    /// What it does now.
    pub state: ContainerState,
}

/// What a container does now. At most one is set; none means that it waits.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// It runs.
    pub running: Option<IgnoredAny>,
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Its exit code; 0 is success.
    pub exit_code: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_the_api_server_is_read_and_all_else_is_passed_over() {
        let text = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","uid":"u","labels":{"x":"y"},
            "annotations":{"kubernetes.io/config.mirror":"m","kubernetes.io/config.hash":"h","z":"z"}},
            "spec":{"nodeName":"n","restartPolicy":"Never","volumes":[{"name":"v"}],"containers":[{"name":"c","image":"i",
            "livenessProbe":{"httpGet":{"port":80},"periodSeconds":5,"failureThreshold":2,"timeoutSeconds":3}}]},
            "status":{"phase":"Running","containerStatuses":[{"name":"c","containerID":"containerd://1",
            "started":true,"state":{"running":{"startedAt":"2026-11-23T00:00:00Z"}}}]}}"#;
        let pod: Pod = serde_json::from_str(text).unwrap();
        assert_eq!(pod.metadata.annotations.hash.as_deref(), Some("h"));
        assert_eq!(pod.spec.restart_policy, Some(RestartPolicy::Never));
        let probe = pod.spec.containers[0].liveness_probe.as_ref().unwrap();
        assert!(probe.uses_the_network());
        assert_eq!(probe.tolerance_seconds(false), 8);
        // Its connection is asked for again after one second, and then after three, when it has failed.
        assert_eq!(probe.tolerance_seconds(true), 6);
        assert!(pod.status.container_statuses[0].state.running.is_some());
    }

    #[test]
    fn a_probe_without_numbers_has_those_of_kubernetes() {
        assert_eq!(Probe::default().tolerance_seconds(false), 21);
    }

    #[test]
    fn a_connection_is_asked_for_again_and_again() {
        for (timeout, last) in [(1, 0), (2, 1), (3, 1), (4, 3), (8, 7), (10, 7)] {
            assert_eq!(last_attempt(timeout), last, "{timeout}");
        }
        assert!(last_attempt(u32::MAX) < u32::MAX);
    }

    #[test]
    fn the_tightest_probe_tolerates_its_timeout() {
        let probe = Probe {
            failure_threshold: Some(1),
            period_seconds: Some(1),
            ..Probe::default()
        };
        assert_eq!(probe.tolerance_seconds(false), 1);
        let over_network = Probe {
            tcp_socket: Some(serde::de::IgnoredAny),
            ..probe
        };
        assert_eq!(over_network.tolerance_seconds(true), 1);
    }
}
