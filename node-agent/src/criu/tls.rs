//! TLS between two ends of a page transfer, as CRIU takes it: by files.

use std::path::{Path, PathBuf};

use super::messages::CriuOpts;

/// TLS with the other end. The files are PEM, and read by CRIU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate of the authority that both sides trust.
    pub ca: PathBuf,
    /// Revoked certificates.
    pub revoked: Option<PathBuf>,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The other end's certificate has to name its address.
    pub check_name: bool,
}

impl Tls {
    /// The options that ask for it, and no others.
    #[must_use]
    pub fn options(&self) -> CriuOpts {
        let text = |path: &Path| Some(path.to_string_lossy().into_owned());
        CriuOpts {
            tls: Some(true),
            tls_cacert: text(&self.ca),
            tls_cacrl: self.revoked.as_deref().and_then(text),
            tls_cert: text(&self.certificate),
            tls_key: text(&self.key),
            tls_no_cn_verify: Some(!self.check_name),
            ..CriuOpts::default()
        }
    }
}
