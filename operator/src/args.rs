//! The operator's command line; every flag can be set in the environment as well.

use std::{net::SocketAddr, str::FromStr};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{check, release};

/// Gives every `ContainerCheckpoint` to the agent of its pod's node, bounds it, and cleans up
/// after it. The API server is found as kubectl finds it: in the cluster, or by KUBECONFIG.
#[derive(Debug, Clone, Parser, PartialEq, Eq)]
#[command(name = "stillframe-operator", version)]
pub struct CommandLine {
    /// What every verb heeds.
    #[command(flatten)]
    pub args: Args,
    /// What is to be done; without, the operator works until it is told to end.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What can be done beside the operator's own work.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Let deleted objects go that wait for an operator, after Stillframe was removed. Their images
    /// stay on the nodes.
    ReleaseFinalizers(release::Options),
    /// Wait until the installation works, print what is there, and exit with 1 where it does not.
    Check(check::Options),
    /// Remove what the agents say of their nodes and the leader's Lease, after Stillframe was removed. Checkpoints and
    /// their images stay.
    CleanUp,
}

/// The arguments of the operator.
#[derive(Debug, Clone, clap::Args, PartialEq, Eq)]
pub struct Args {
    /// The namespace that Stillframe runs in: the leader's Lease is kept there.
    #[arg(
        long,
        env = "STILLFRAME_NAMESPACE",
        default_value = "stillframe-system"
    )]
    pub namespace: String,
    /// Where /livez and /readyz are served, or off.
    #[arg(
        long,
        env = "STILLFRAME_HEALTH_ADDRESS",
        default_value = "0.0.0.0:8081"
    )]
    pub health_address: Listen,
    /// Where /metrics is served, or off.
    #[arg(
        long,
        env = "STILLFRAME_METRICS_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub metrics_address: Listen,
    /// Work only while this instance holds the leader's Lease, so that several can run.
    #[arg(
        long,
        env = "STILLFRAME_LEADER_ELECT",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub leader_elect: bool,
    /// How log lines are written.
    #[arg(long, env = "STILLFRAME_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Which log lines are written, as tracing's filters are written.
    #[arg(long, env = "STILLFRAME_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At that address.
    At(SocketAddr),
}

/// A text that is neither an address with a port nor off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid address {0:?}: use ADDRESS:PORT, or off")]
pub struct InvalidListen(String);

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|_| InvalidListen(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Args {
        let line = ["stillframe-operator"].iter().chain(arguments);
        let CommandLine { args, verb } = CommandLine::parse_from(line);
        assert_eq!(verb, None);
        args
    }

    #[test]
    fn verbs_have_options_of_their_own() {
        let verb = |line: &[&str]| CommandLine::try_parse_from(line).map(|read| read.verb);
        let Some(Verb::Check(options)) = verb(&["x", "check"]).unwrap() else {
            panic!("another verb");
        };
        assert_eq!((options.agents, options.timeout.as_secs()), (1, 60));
        let Some(Verb::ReleaseFinalizers(options)) = verb(&["x", "release-finalizers"]).unwrap()
        else {
            panic!("another verb");
        };
        assert!(!options.all);
        assert!(verb(&["x", "check", "--agents", "two"]).is_err());
        assert!(verb(&["x", "remove"]).is_err());
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let Args {
            namespace,
            health_address,
            metrics_address,
            leader_elect,
            log_format,
            log_filter,
        } = parse(&[]);
        assert_eq!(namespace, "stillframe-system");
        assert_eq!(health_address, "0.0.0.0:8081".parse().unwrap());
        assert_eq!(metrics_address, "0.0.0.0:8080".parse().unwrap());
        assert!(leader_elect);
        assert_eq!(log_format, LogFormat::Text);
        assert_eq!(log_filter, "info");
    }

    #[test]
    fn leader_election_can_be_switched_off_and_servers_too() {
        let args = parse(&["--leader-elect=false", "--metrics-address", "off"]);
        assert!(!args.leader_elect);
        assert_eq!(args.metrics_address, Listen::Off);
        assert!(parse(&["--leader-elect"]).leader_elect);
    }

    #[test]
    fn an_address_without_a_port_is_refused_by_name() {
        let line = ["x", "--health-address", "localhost"];
        let error = CommandLine::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains("use ADDRESS:PORT, or off"), "{error}");
    }
}
