//! What came of receiving, and who is told on the way.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::Serialize;

/// Pages that have been received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Their directory under its final name.
    pub image_path: PathBuf,
    /// Where `page-server.log` is.
    pub work_path: PathBuf,
    /// Who has sent them.
    pub peer: IpAddr,
    /// Pages that have been received.
    pub pages: u64,
    /// Bytes of all files in the directory.
    pub size_bytes: u64,
    /// Files in the directory.
    pub files: u64,
    /// `sha256:…` over the sorted names and contents of the files.
    pub digest: String,
    /// From the connection to the published directory, in microseconds.
    pub microseconds: u64,
}

/// Is told how it goes.
pub trait Observer: std::fmt::Debug {
    /// The sender may connect now. Told once.
    fn listening(&mut self, address: SocketAddr);

    /// Somebody has connected whose pages are received next.
    fn connected(&mut self, peer: SocketAddr) {
        let _ = peer;
    }

    /// Somebody has connected and sent nothing, or may not send: the sender is waited for again.
    fn refused(&mut self, peer: SocketAddr, why: &str);

    /// The pages are complete and get their final name next: what the report will say, but for the time.
    fn complete(&mut self, report: &Report) {
        let _ = report;
    }
}
