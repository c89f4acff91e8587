//! A stand-in for CRIU that keeps the request it is sent and refuses it: what it is told to answer, and what it has heard.

use std::fs;

use node_agent::criu::messages::CriuReq;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::node::Node;

/// The file beside the stand-in with its [`Answers`].
pub const ANSWERS: &str = "answers.json";

/// The file beside the stand-in with what it has [`Heard`].
pub const HEARD: &str = "heard.json";

/// What the stand-in answers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Answers {
    /// Its version: major, minor and sub-level.
    pub version: [i32; 3],
    /// Whether it says yes to each feature that it is asked about; otherwise no.
    pub features: bool,
}

/// A request, as it came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    /// The message, byte for byte.
    pub request: Vec<u8>,
    /// What the caller's descriptor of the image directory is open at.
    pub images: Option<String>,
    /// What the caller's descriptor of the work directory is open at.
    pub work: Option<String>,
}

impl Heard {
    /// The request itself.
    ///
    /// It must hold nothing beyond the messages that we know, or a difference could hide there.
    #[must_use]
    pub fn decoded(&self) -> CriuReq {
        let request = CriuReq::decode(self.request.as_slice()).expect("a request of CRIU's");
        assert_eq!(
            request.encoded_len(),
            self.request.len(),
            "the request has fields that are not in our messages: {request:#?}"
        );
        request
    }
}

/// A folder with the stand-in, to be put first in `PATH`.
#[derive(Debug)]
pub struct Recorder<'node> {
    node: &'node Node,
    name: String,
}

impl<'node> Recorder<'node> {
    /// Puts a stand-in into the node that answers the node's own CRIU's version.
    #[must_use]
    pub fn new(node: &'node Node, features: bool) -> Self {
        let version = node.run(&["criu", "--version"]).ok().stdout;
        let mut numbers = version
            .lines()
            .find_map(|line| line.strip_prefix("Version: "))
            .expect("CRIU says its version")
            .split('.')
            .map(|number| number.trim().parse().expect("a number"));
        let version = [(); 3].map(|()| numbers.next().unwrap_or(0));
        Self::of_version(node, version, features)
    }

    /// Puts a stand-in into the node that answers this version.
    #[must_use]
    pub fn of_version(node: &'node Node, version: [i32; 3], features: bool) -> Self {
        let this = Self {
            node,
            name: node.unique("recorder"),
        };
        let answers = serde_json::to_vec(&Answers { version, features }).expect("answers are JSON");
        node.put(&format!("{}/{ANSWERS}", this.name), answers);
        let program = node.install("recording-criu");
        node.run(&["cp", &program, &format!("{}/criu", this.folder())])
            .ok();
        this
    }

    /// Its folder in the node.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("/run/rig/{}", self.name)
    }

    /// Makes it the first `criu` of the node's own search path.
    pub fn stand_in(&self) {
        let program = format!("{}/criu", self.folder());
        self.node
            .run(&["ln", "-sf", &program, "/run/rig/bin/criu"])
            .ok();
    }

    /// A `PATH` in which `criu` is this one.
    #[must_use]
    pub fn path(&self) -> String {
        let path = self.node.shell("printf %s \"$PATH\"").ok().stdout;
        format!("{}:{path}", self.folder())
    }

    /// What it has heard since it was last asked, if anything.
    #[must_use]
    pub fn heard(&self) -> Option<Heard> {
        let file = self.node.path(&self.name).join(HEARD);
        let text = fs::read(&file).ok()?;
        fs::remove_file(&file).expect("what was heard can be removed");
        Some(serde_json::from_slice(&text).expect("what was heard is JSON"))
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.node.path(&self.name));
    }
}
