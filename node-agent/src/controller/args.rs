//! The arguments of `run`: flags, each of which is an environment variable too.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{Args, Parser, ValueEnum};

use super::{
    disk::{NamespaceLimit, Reserve},
    engine::{CriuOf, DumpCgroup},
    page_server::Allowance,
};

/// Checkpoints this node's containers as `ContainerCheckpoint` objects ask.
///
/// The API server is found from within the cluster, or through $KUBECONFIG.
#[derive(Debug, Clone, Parser)]
#[command(name = "run", bin_name = "stillframe-node-agent run")]
pub struct Arguments {
    /// This node's name in the cluster.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// The address that the cluster knows this node by: where lazy pages are fetched.
    #[arg(long, env = "STILLFRAME_NODE_ADDRESS", value_name = "ADDRESS")]
    pub node_address: Option<IpAddr>,
    /// The namespace of the agents, where their leases are.
    #[arg(
        long,
        env = "STILLFRAME_NAMESPACE",
        default_value = "stillframe-system"
    )]
    pub namespace: String,
    /// Where images go.
    #[arg(
        long,
        env = "STILLFRAME_IMAGE_ROOT",
        default_value = "/var/lib/stillframe/images"
    )]
    pub image_root: PathBuf,
    /// How many containers are dumped at once; one dump of a container at a time in any case.
    #[arg(long, env = "STILLFRAME_CONCURRENCY", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: u32,
    /// What stays free on the disk of the images: a share, such as 10%, or a size, such as 5Gi.
    /// More than what makes the kubelet evict pods.
    #[arg(long, env = "STILLFRAME_RESERVE", default_value_t = Reserve::default())]
    pub reserve: Reserve,
    /// The most that the images of one namespace may take on this node, such as 10Gi; off: no limit.
    #[arg(
        long,
        env = "STILLFRAME_NAMESPACE_LIMIT",
        value_name = "SIZE",
        default_value_t
    )]
    pub namespace_limit: NamespaceLimit,
    /// Whose CRIU is started.
    #[arg(long, env = "STILLFRAME_CRIU", value_enum, default_value_t)]
    pub criu: CriuOf,
    /// The cgroup that CRIU and its guardian are started in, below the root of every hierarchy, made
    /// where it is missing; off: this process's own. Files that a dump writes do not count against the
    /// agent's memory limit then, and a dump does not end with the agent's container.
    #[arg(
        long,
        env = "STILLFRAME_DUMP_CGROUP",
        value_name = "PATH",
        default_value_t
    )]
    pub dump_cgroup: DumpCgroup,
    /// Where memory may go.
    #[command(flatten)]
    pub page_servers: PageServers,
    /// The node's address on which the memory of other nodes' checkpoints is received, as objects ask for
    /// it; nothing is received without.
    #[arg(long, env = "STILLFRAME_RECEIVE_ADDRESS", value_name = "ADDRESS")]
    pub receive_address: Option<IpAddr>,
    /// Where /livez and /readyz answer; off: nowhere.
    #[arg(
        long,
        env = "STILLFRAME_HEALTH_ADDRESS",
        default_value = "127.0.0.1:8082"
    )]
    pub health_address: Address,
    /// Where /metrics answers; off: nowhere.
    #[arg(long, env = "STILLFRAME_METRICS_ADDRESS", default_value = "off")]
    pub metrics_address: Address,
    /// How the log is written.
    #[command(flatten)]
    pub log: Log,
    /// How long running dumps may go on once the agent is told to end, such as 20s or 2m.
    #[arg(long, env = "STILLFRAME_GRACE_PERIOD", default_value = "20s", value_parser = duration)]
    pub grace_period: Duration,
    /// Where the host's root is seen.
    #[arg(long, env = "STILLFRAME_PREFIX", default_value = "/")]
    pub prefix: PathBuf,
}

/// Where memory may go.
#[derive(Debug, Clone, Args)]
pub struct PageServers {
    /// An address, address and port, or network that memory may be sent to; may be given several
    /// times. Nothing is allowed without.
    #[arg(
        long = "allow-page-server",
        env = "STILLFRAME_ALLOW_PAGE_SERVER",
        value_delimiter = ',',
        value_name = "CIDR|ADDRESS[:PORT]"
    )]
    pub allowed: Vec<Allowance>,
    /// The folder of the keys with which memory is encrypted on its way.
    #[arg(
        long = "page-server-keys",
        env = "STILLFRAME_PAGE_SERVER_KEYS",
        value_name = "DIR"
    )]
    pub keys: Option<PathBuf>,
}

/// How the log is written.
#[derive(Debug, Clone, Args)]
pub struct Log {
    /// Its form.
    #[arg(
        long = "log-format",
        env = "STILLFRAME_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Text
    )]
    pub format: LogFormat,
    /// What is in it: a level, or levels of modules.
    #[arg(
        long = "log-filter",
        env = "STILLFRAME_LOG_FILTER",
        default_value = "info"
    )]
    pub filter: String,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object in each line.
    Json,
}

/// Where something answers, if anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub Option<SocketAddr>);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| "use ADDRESS:PORT or off")?;
        Ok(Self(Some(address)))
    }
}

/// Seconds, or with ms, s, m or h.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("use a number with ms, s, m or h".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "use a number with a unit")?;
    let milliseconds = number.checked_mul(unit).ok_or("too long")?;
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let all = ["run", "--node-name", "n"].iter().chain(arguments);
        Arguments::try_parse_from(all)
    }

    #[test]
    fn a_node_s_name_is_all_that_is_needed() {
        let arguments = read(&[]).unwrap();
        assert_eq!(arguments.grace_period, Duration::from_secs(20));
        assert_eq!(arguments.metrics_address, Address(None));
        assert!(arguments.health_address.0.unwrap().ip().is_loopback());
        assert!(arguments.page_servers.allowed.is_empty());
        assert_eq!(arguments.namespace_limit, NamespaceLimit(None));
        assert_eq!(arguments.criu, CriuOf::Bundled);
        assert_eq!(arguments.dump_cgroup, DumpCgroup(None));
        assert_eq!(arguments.node_address, None);
    }

    #[test]
    fn criu_and_its_cgroup_are_chosen_by_name() {
        let arguments = read(&["--criu", "host", "--dump-cgroup", "stillframe"]).unwrap();
        assert_eq!(arguments.criu, CriuOf::Host);
        assert_eq!(arguments.dump_cgroup.to_string(), "stillframe");
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for wrong in [
            ["--concurrency", "0"],
            ["--reserve", "much"],
            ["--namespace-limit", "10%"],
            ["--grace-period", "soon"],
            ["--health-address", "here"],
            ["--allow-page-server", "somewhere"],
            ["--node-address", "node-a"],
            ["--criu", "theirs"],
            ["--dump-cgroup", "../up"],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, want) in [
            ("500ms", 500),
            ("20s", 20_000),
            ("2m", 120_000),
            ("3", 3000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(want)), "{text}");
        }
        assert!(duration("").is_err() && duration("1d").is_err());
    }
}
