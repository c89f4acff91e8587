//! `inventory.img`: what kind of image a directory holds.

use super::{Error, Folder, records::Records};

/// `INVENTORY_MAGIC` (`criu/include/magic.h`); this file alone has no common magic before it.
const MAGICS: [u32; 1] = [0x5831_3116];
const FILE_NAME: &str = "inventory.img";
/// One record; its list of plugins is the only thing that can be long.
const SIZE_LIMIT: u64 = 2 << 20;
/// `CRTOOLS_IMAGES_V1` and `…_V1_1` (`criu/include/image.h`).
const KNOWN_VERSIONS: [u32; 2] = [1, 2];

/// What the inventory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The images' version; 0 in a pre-dump.
    pub img_version: u32,
    /// Present only in a pre-dump.
    pub pre_dump_mode: Option<u32>,
    /// How the network was locked for the dump; `None` before CRIU 3.16.
    pub network_lock: Option<NetworkLock>,
    /// Connections were closed instead of dumped.
    pub tcp_close: bool,
    /// The run of CRIU that made it; [`nftables_table`] of it is its lock. CRIU 4.1.
    pub dump_criu_run_id: Option<String>,
    /// Uptime at the dump, when memory was tracked.
    pub dump_uptime: Option<u64>,
}

/// A lock method as the inventory numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    /// Chains in the filter table.
    Iptables,
    /// A table of its own.
    Nftables,
    /// None.
    Skip,
    /// A number this does not know.
    Unknown(u32),
}

/// The name, in family `inet`, of the nftables table that a run of CRIU locks the network with.
/// Mirrors `nftables_get_table` of `criu/netfilter.c` and the 32 bytes its callers give it, which
/// cut the run id short.
#[must_use]
pub fn nftables_table(criu_run_id: &str) -> String {
    const ROOM: usize = 31 - "inet ".len();
    format!("CRIU-{criu_run_id}").chars().take(ROOM).collect()
}

impl Inventory {
    /// Reads the inventory; `None` when there is none.
    ///
    /// # Errors
    /// When there is something of that name that CRIU did not write, or of a version that this
    /// does not know.
    pub fn read(folder: &Folder) -> Result<Option<Self>, Error> {
        folder
            .read(FILE_NAME, SIZE_LIMIT)?
            .map(|content| Self::parse(&content))
            .transpose()
    }

    /// As [`Inventory::read`], where it has to be there.
    pub(super) fn required(folder: &Folder) -> Result<Self, Error> {
        Self::read(folder)?.ok_or_else(|| Error::Missing {
            name: FILE_NAME.to_owned(),
        })
    }

    fn parse(content: &[u8]) -> Result<Self, Error> {
        let mut records = Records::open(content, FILE_NAME, &MAGICS)?;
        let entry: InventoryEntry = records.one()?;
        // CRIU leaves the version of a pre-dump, which is none of an image that can be restored, at 0.
        let unversioned = entry.pre_dump_mode.is_some() && entry.img_version == 0;
        if !unversioned && !KNOWN_VERSIONS.contains(&entry.img_version) {
            return Err(records.strange("has an unknown version"));
        }
        Ok(Self {
            img_version: entry.img_version,
            pre_dump_mode: entry.pre_dump_mode,
            network_lock: entry.network_lock_method.map(|method| match method {
                // The enum of `criu/include/cr_options.h`, one less than the request's.
                0 => NetworkLock::Iptables,
                1 => NetworkLock::Nftables,
                2 => NetworkLock::Skip,
                other => NetworkLock::Unknown(other),
            }),
            tcp_close: entry.tcp_close.unwrap_or(false),
            dump_criu_run_id: entry.dump_criu_run_id,
            dump_uptime: entry.dump_uptime,
        })
    }
}

/// `images/inventory.proto`, as far as it is looked at.
#[derive(Clone, PartialEq, prost::Message)]
struct InventoryEntry {
    #[prost(uint32, required, tag = "1")]
    img_version: u32,
    #[prost(uint64, optional, tag = "8")]
    dump_uptime: Option<u64>,
    #[prost(uint32, optional, tag = "9")]
    pre_dump_mode: Option<u32>,
    #[prost(bool, optional, tag = "10")]
    tcp_close: Option<bool>,
    #[prost(uint32, optional, tag = "11")]
    network_lock_method: Option<u32>,
    #[prost(string, optional, tag = "13")]
    dump_criu_run_id: Option<String>,
}

#[cfg(test)]
pub(super) fn sample(pre_dump: bool) -> Vec<u8> {
    let mut record = if pre_dump {
        vec![0x08, 0, 0x48, 1]
    } else {
        vec![0x08, 2, 0x58, 1]
    };
    record.extend([0x6a, 2, b'a', b'b']);
    let words = [MAGICS[0], u32::try_from(record.len()).unwrap()];
    words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .chain(record)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dump_s_inventory_names_its_lock_and_its_run() {
        let inventory = Inventory::parse(&sample(false)).unwrap();
        assert_eq!(inventory.img_version, 2);
        assert_eq!(inventory.network_lock, Some(NetworkLock::Nftables));
        assert_eq!(inventory.dump_criu_run_id.as_deref(), Some("ab"));
        assert_eq!(inventory.pre_dump_mode, None);
    }

    #[test]
    fn a_pre_dump_is_told_by_its_mode() {
        assert_eq!(
            Inventory::parse(&sample(true)).unwrap().pre_dump_mode,
            Some(1)
        );
    }

    #[test]
    fn a_lock_s_table_is_named_by_as_much_of_the_run_as_criu_has_room_for() {
        assert_eq!(
            nftables_table("dd794a9b-bcbf-4bf8-ba12-0123456789ab"),
            "CRIU-dd794a9b-bcbf-4bf8-ba"
        );
    }

    #[test]
    fn an_unknown_version_is_refused() {
        // Only a pre-dump has none.
        for (pre_dump, version) in [(false, 9), (false, 0), (true, 9)] {
            let mut content = sample(pre_dump);
            content[9] = version;
            let error = Inventory::parse(&content).unwrap_err();
            assert_eq!(
                error.to_string(),
                "image file \"inventory.img\" has an unknown version"
            );
        }
    }

    proptest! {
        #[test]
        fn any_content_is_read_without_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Inventory::parse(&content);
            let _ = Inventory::parse(&[&MAGICS[0].to_le_bytes(), content.as_slice()].concat());
        }
    }
}
