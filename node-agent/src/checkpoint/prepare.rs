//! Everything between the first look at a container and the moment at which CRIU is asked to dump.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    time::Instant,
};

use super::{
    Error, Image, Kind, NetworkLock, Request,
    chain::Chain,
    fence::Fence,
    journal::{Entry, FreezerBefore, Journal, LockedNetwork, Record},
    keep::Saving,
    lock::{self, Circumstances, Method, Rules},
    plan::{self, Found},
    process::ProcessId,
    remap,
    run::{ANSWER_WITHIN, Dump},
    status_fd::StatusFd,
};
use crate::{
    criu::{
        Swrk, Version,
        abilities::Abilities,
        messages::{CriuFeatures, CriuReq},
    },
    runtime::{
        cgroup::{self, Freezer, HostFlags},
        processes,
    },
};

/// First CRIU with external network namespaces, then with external pid namespaces; runc asks for
/// both even where the container has neither.
const EXTERNAL_NETWORK_SINCE: u32 = 31_100;
const EXTERNAL_PID_SINCE: u32 = 31_500;

/// What runc keeps of the descriptors that were the container's stdio when it started.
const DESCRIPTORS: &str = "descriptors.json";

/// A dump that has been written into the journal and touched nothing yet.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    pub(super) record: Record,
    pub(super) request: CriuReq,
    pub(super) status_fd: Option<StatusFd>,
    /// The changed files that are to be saved.
    pub(super) saving: Option<Saving<'a>>,
    /// The lock that will be taken; none for a pre-dump.
    pub(super) lock: Option<Method>,
}

impl<'a> Dump<'a> {
    /// Everything up to the request, in runc's order.
    ///
    /// # Errors
    /// Nothing has been touched then but the directories.
    pub(super) fn prepare(
        &mut self,
        swrk: &mut Swrk,
        journal: &Journal,
    ) -> Result<Ready<'a>, Error> {
        external_namespaces_known(&self.version)?;
        let namespaces = std::mem::replace(&mut self.target.namespaces, Ok(Vec::new()));
        let external = namespaces.map_err(Error::External)?;
        let status_fd = self.require_features(swrk)?;
        let keep = &self.request.keep;
        keep.write(&self.dirs.image, &self.version.to_string())?;
        let cgroup = self.launch.cgroup.as_deref();
        let saving = keep.rootfs.as_ref();
        let saving = saving.map(|rootfs| Saving::prepare(rootfs, &self.dirs.image, cgroup));
        let saving = saving.transpose()?;
        let mut mounts = Vec::new();
        if self.request.kind == Kind::Dump {
            let found = std::mem::replace(&mut self.target.mounts, Ok(Vec::new()));
            mounts = found.map_err(Error::External)?;
            self.write_descriptors()?;
        }
        let (lock, sent) = self.lock()?;
        let flags = cgroup_flags(journal);
        let record = journal.begin(self.entry(swrk, lock, flags)?)?;
        // With the container to ourselves: the CRIU of a dump under way traces every task.
        if let Err(error) = self.nobody_is_traced().and_then(|()| self.break_chain()) {
            record.finish()?;
            return Err(error);
        }
        let found = Found {
            container: self.container,
            criu: self.version.number(),
            image_fd: self.dirs.image_file.as_raw_fd(),
            work_fd: self.dirs.work_file.as_ref().map(AsRawFd::as_raw_fd),
            config_file: self.target.site.file.as_deref(),
            external,
            mounts,
            freezer: self
                .target
                .freezer
                .as_ref()
                .filter(|_| !self.target.one_by_one)
                .map(Freezer::dir),
            unified: self.target.unified,
            yard: cgroup::yard(),
            lock: sent,
        };
        let request = plan::request(self.request, found);
        Ok(Ready {
            record,
            request,
            status_fd,
            saving,
            lock,
        })
    }

    fn nobody_is_traced(&self) -> Result<(), Error> {
        let freezer = self.target.freezer.as_ref();
        match freezer.and_then(|freezer| processes::traced_in(freezer.dir())) {
            Some((pid, tracer)) => Err(Error::Traced { pid, tracer }),
            None => Ok(()),
        }
    }

    /// From here on the kernel's record of changed pages may be cleared.
    fn break_chain(&self) -> Result<(), Error> {
        let Some(chain) = self.chain() else {
            return Ok(());
        };
        let parent = self.request.parent.as_ref().filter(|parent| parent.latest);
        if let Some(parent) = parent.map(|parent| self.dirs.image.join(&parent.path))
            && !chain.ends_with(&parent)
        {
            return Err(Error::ParentNotLatest(parent));
        }
        chain.break_off().map_err(|source| Error::Write {
            path: self.engine.run_dir.join("chains"),
            source,
        })
    }

    /// What is noted of the container's chain of dumps, where this one tracks memory.
    pub(super) fn chain(&self) -> Option<Chain> {
        let Request {
            kind,
            parent,
            options,
            ..
        } = self.request;
        let tracks = *kind == Kind::PreDump || parent.is_some() || options.track_memory;
        let init = ProcessId {
            pid: self.target.guard.pid(),
            start: self.target.guard.start_time(),
        };
        tracks.then(|| Chain::of(&self.engine.run_dir, &self.container.state_dir, init))
    }

    fn require_features(&self, swrk: &mut Swrk) -> Result<Option<StatusFd>, Error> {
        let until = Instant::now() + ANSWER_WITHIN;
        if self.request.kind == Kind::PreDump {
            let wanted = CriuFeatures {
                mem_track: Some(true),
                ..CriuFeatures::default()
            };
            let features = swrk.features(wanted, until).map_err(Error::FeatureCheck)?;
            if features.mem_track != Some(true) {
                return Err(Error::MissingFeature("MemTrack"));
            }
        }
        if !self.request.options.lazy_pages {
            return Ok(None);
        }
        let wanted = CriuFeatures {
            lazy_pages: Some(true),
            ..CriuFeatures::default()
        };
        let features = swrk.features(wanted, until).map_err(Error::FeatureCheck)?;
        if features.lazy_pages != Some(true) {
            return Err(Error::MissingFeature("LazyPages"));
        }
        self.request.status_fd.map(StatusFd::new).transpose()
    }

    /// Mirrors `Checkpoint` of runc 1.5.2: what the restore needs to know of the original stdio.
    fn write_descriptors(&self) -> Result<(), Error> {
        let path = self.dirs.image.join(DESCRIPTORS);
        let write = || {
            let text = serde_json::to_vec(&self.container.external_descriptors)?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            io::Write::write_all(&mut file, &text)
        };
        write().map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })
    }

    /// The lock that the dump will take, and the one that the request names.
    fn lock(&self) -> Result<(Option<Method>, Option<Method>), Error> {
        if self.request.kind == Kind::PreDump {
            return Ok((None, None));
        }
        let site = &self.target.site;
        let asked = self.request.network_lock;
        let own = site.own_network_lock.filter(|_| asked == NetworkLock::Auto);
        let connections = self.connections();
        let wants_nftables = connections || asked == NetworkLock::Nftables;
        let now = Circumstances {
            criu: self.version.number(),
            nftables: wants_nftables && self.nftables(),
            connections,
            site: site.network_lock.or(own),
        };
        let method = lock::choose(asked, now)?;
        Ok((Some(method), now.site.is_none().then_some(method)))
    }

    fn nftables(&self) -> bool {
        let folder = Some(self.engine.run_dir.as_path());
        Abilities::of(&self.launch, folder, Instant::now() + ANSWER_WITHIN).nftables_lock
    }

    /// Whether CRIU stops established connections to dump them.
    pub(super) fn stops_connections(&self) -> bool {
        self.request.kind == Kind::Dump && self.connections()
    }

    fn connections(&self) -> bool {
        self.request.options.tcp_established || self.target.site.tcp_established
    }

    fn entry(
        &self,
        swrk: &Swrk,
        lock: Option<Method>,
        cgroup_flags: Option<HostFlags>,
    ) -> Result<Entry, Error> {
        let guard = &self.target.guard;
        let freezer = self.target.freezer.as_ref().zip(self.target.paused());
        let links = self.request.options.link_remap || self.target.site.link_remap;
        let link_remaps = if links {
            remap::folders(&processes::pids(self.container)?)
        } else {
            Vec::new()
        };
        let network = self.target.network.as_ref().zip(lock);
        let network = network.filter(|(_, method)| *method != Method::Skip);
        let network = network.map(|(inside, method)| -> Result<_, Error> {
            let before = match method {
                Method::Iptables => Rules::read(inside).map_err(Error::Rules)?,
                Method::Nftables | Method::Skip => Rules::default(),
            };
            let log = self.log();
            Ok(LockedNetwork {
                inode: inside.inode,
                method,
                before,
                log,
            })
        });
        Ok(Entry {
            container: self.container.id.to_string(),
            state_dir: self.container.state_dir.clone(),
            owner: ProcessId::ours().unwrap_or(ProcessId { pid: 0, start: 0 }),
            criu: swrk.pid().and_then(|pid| ProcessId::now(pid.cast_signed())),
            init: ProcessId {
                pid: guard.pid(),
                start: guard.start_time(),
            },
            freezer: freezer.map(|(freezer, paused)| FreezerBefore {
                dir: freezer.dir().to_owned(),
                unified: self.target.unified,
                paused,
            }),
            network: network.transpose()?,
            fence: self.fence()?,
            connections: self.stops_connections(),
            pause_is_bounded: self.request.max_pause.is_some(),
            cgroup_flags,
            link_remaps,
            image: self.dirs.image.clone(),
            partial: matches!(self.request.image, Image::Publish { .. }),
            ends_container: self.ends_container(),
            unlock_after_end: self.request.unlock_after_end,
        })
    }
}

/// The flags that the unified hierarchy has, or had before the dumps under way: one of them may have
/// taken them away just now. In this order, since a dump puts its flags back before it ends its entry.
fn cgroup_flags(journal: &Journal) -> Option<HostFlags> {
    let others = journal.entries();
    let now = HostFlags::now()?;
    let others = others
        .iter()
        .filter_map(|other| other.cgroup_flags.as_ref());
    Some(others.fold(now, HostFlags::and))
}

impl Dump<'_> {
    /// What will stand before the port of the lazy pages.
    fn fence(&self) -> Result<Option<Fence>, Error> {
        let asked = self.request.lazy_pages_for.as_ref();
        let server = self.request.page_server.as_ref();
        let Some((_, server)) = asked
            .zip(server)
            .filter(|_| self.request.options.lazy_pages)
        else {
            return Ok(None);
        };
        // As CRIU takes the number.
        let [low, high, ..] = server.port.to_le_bytes();
        let port = u16::from_le_bytes([low, high]);
        let fence = Fence::before(port, &self.container.state_dir);
        fence.map(Some).map_err(Error::Fence)
    }
}

fn external_namespaces_known(version: &Version) -> Result<(), Error> {
    for (kind, since) in [("net", EXTERNAL_NETWORK_SINCE), ("pid", EXTERNAL_PID_SINCE)] {
        if version.number() < since {
            return Err(Error::ExternalNamespaces { kind });
        }
    }
    Ok(())
}
