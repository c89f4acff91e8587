//! What tests look for in files of CRIU's that the agent itself does not read.

use std::collections::BTreeMap;

use prost::Message;

/// `cgroup_entry` of CRIU's `cgroup.proto`, as far as it matters here.
#[derive(Clone, PartialEq, Message)]
struct Cgroups {
    #[prost(message, repeated, tag = "2")]
    controllers: Vec<Controller>,
}

#[derive(Clone, PartialEq, Message)]
struct Controller {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    folders: Vec<Folder>,
}

#[derive(Clone, PartialEq, Message)]
struct Folder {
    #[prost(message, repeated, tag = "3")]
    properties: Vec<Property>,
}

#[derive(Clone, PartialEq, Message)]
struct Property {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `inventory_entry` of CRIU's `inventory.proto`, as far as it matters here.
#[derive(Clone, PartialEq, Message)]
struct Inventory {
    #[prost(int32, optional, tag = "11")]
    network_lock: Option<i32>,
}

/// The properties that a `cgroup.img` holds, by `CONTROLLER/NAME`.
#[must_use]
pub fn cgroup_properties(image: &[u8]) -> BTreeMap<String, String> {
    // Two magic numbers and the length of the only message.
    let cgroups = Cgroups::decode(image.get(12..).unwrap_or_default()).expect("a cgroup_entry");
    let of = |controller: &Controller| {
        let name = controller.names.join(",");
        let folders = controller.folders.iter();
        let properties = folders.flat_map(|folder| folder.properties.clone());
        properties
            .map(|property| (format!("{name}/{}", property.name), property.value))
            .collect::<Vec<_>>()
    };
    cgroups.controllers.iter().flat_map(of).collect()
}

/// The lock that an `inventory.img` names, by its number in CRIU's requests.
#[must_use]
pub fn network_lock(image: &[u8]) -> Option<i32> {
    // One magic number and the length of the only message.
    let inventory = Inventory::decode(image.get(8..).unwrap_or_default());
    let lock = inventory.expect("an inventory_entry").network_lock;
    // Images count from 0, requests from 1.
    lock.map(|number| number + 1)
}
