//! What is found out about a container and its surroundings before CRIU is asked for anything.

use std::path::{Path, PathBuf};

use super::{
    Error, Request,
    engine::Engine,
    lock::{Method, Namespace},
    plan,
};
use crate::{
    criu::config::{Says, says},
    runtime::{
        Container, Flavour,
        cgroup::{self, Freezer, FreezerState, Version},
        external::{self, Dangling, ExternalMount},
        guard::Guard,
        processes,
    },
};

/// The configuration that runc hands CRIU.
const RUNC_CONFIG: &str = "/etc/criu/runc.conf";
/// The configuration that crun hands CRIU, where it exists.
const CRUN_CONFIG: &str = "/etc/criu/crun.conf";
/// The annotation that names another.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// A container that is about to be dumped. Parts that runc looks at late keep their failure until
/// it is their turn.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) guard: Guard,
    pub(super) freezer: Option<Freezer>,
    pub(super) state: Option<FreezerState>,
    pub(super) unified: bool,
    /// CRIU is to stop tasks one by one and not by the freezer.
    pub(super) one_by_one: bool,
    pub(super) network: Option<Namespace>,
    pub(super) site: SiteConfig,
    pub(super) namespaces: Result<Vec<String>, external::Error>,
    pub(super) mounts: Result<Vec<ExternalMount>, external::Error>,
}

impl Target {
    pub(super) fn look(
        engine: &Engine,
        container: &Container,
        request: &Request,
    ) -> Result<Self, Error> {
        let guard = Guard::open(container)?;
        let version = cgroup::version();
        let freezer = container
            .freezer_dir(version)
            .map(|dir| Freezer::new(dir, version));
        let state = freezer
            .as_ref()
            .and_then(|freezer| freezer.state().ok().flatten());
        let unified = version == Version::V2;
        // To be attached to, a stopped task has to take a step, and in a frozen v1 cgroup none does:
        // CRIU would wait, with everybody frozen, until it is killed.
        let one_by_one = !unified
            && freezer
                .as_ref()
                .is_some_and(|freezer| processes::stopped_in(freezer.dir()).is_some());
        Ok(Self {
            guard,
            state,
            unified,
            one_by_one,
            freezer,
            network: Namespace::of(container.init.pid).ok(),
            site: SiteConfig::read(engine, container, request.site_config),
            namespaces: external::namespaces(container, Dangling::Fail),
            mounts: external::mounts(container),
        })
    }
}

impl Target {
    /// The container's freezer is open.
    pub(super) fn thawed(&self) -> bool {
        self.state == Some(FreezerState::Thawed)
    }

    /// Whether the container is paused; `None` while somebody is just changing that, or where it is
    /// a cgroup above that stands still.
    pub(super) fn paused(&self) -> Option<bool> {
        match self.state? {
            FreezerState::Thawed => Some(false),
            FreezerState::Frozen => Some(true),
            FreezerState::Freezing | FreezerState::FrozenAbove => None,
        }
    }
}

/// What configuration files will make of a request, once CRIU has read them.
#[derive(Debug, Default)]
pub(super) struct SiteConfig {
    /// The one that CRIU is handed.
    pub(super) file: Option<PathBuf>,
    /// One of them asks for established connections.
    pub(super) tcp_established: bool,
    /// One of them asks for deleted files to be linked back.
    pub(super) link_remap: bool,
    /// The method that the handed one names, which goes before a request's.
    pub(super) network_lock: Option<Method>,
    /// The method that one of CRIU's own names, which a request goes before.
    pub(super) own_network_lock: Option<Method>,
}

impl SiteConfig {
    fn read(engine: &Engine, container: &Container, hand_over: bool) -> Self {
        let default = default_config(container.flavour);
        let file = plan::config_file(container.annotation(CONFIG_ANNOTATION), default);
        let file = file.filter(|_| hand_over).map(Path::to_owned);
        let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let handed = file.as_deref().map(text).unwrap_or_default();
        let own: Vec<_> = engine.own_configs.iter().map(|path| text(path)).collect();
        let asks = |name| {
            let mut texts = own.iter().chain([&handed]);
            texts.any(|text| matches!(says(text, name), Some(Says::On | Says::Value(_))))
        };
        let lock = |text: &String| match says(text, "network-lock") {
            Some(Says::Value(word)) => Method::from_word(&word),
            _ => None,
        };
        Self {
            file,
            tcp_established: asks("tcp-established"),
            link_remap: asks("link-remap"),
            network_lock: lock(&handed),
            own_network_lock: own.iter().filter_map(lock).next_back(),
        }
    }
}

/// The configuration file that a container's runtime hands CRIU, if any.
#[must_use]
pub fn config_of(container: &Container) -> Option<PathBuf> {
    let default = default_config(container.flavour);
    let file = plan::config_file(container.annotation(CONFIG_ANNOTATION), default);
    file.map(Path::to_owned)
}

/// Each runtime's own file; crun falls back to runc's (`libcriu` part of crun 1.29).
fn default_config(flavour: Flavour) -> &'static Path {
    match flavour {
        Flavour::Crun if Path::new(CRUN_CONFIG).exists() => Path::new(CRUN_CONFIG),
        Flavour::Crun | Flavour::Runc => Path::new(RUNC_CONFIG),
    }
}
