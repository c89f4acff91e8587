//! From flags to a request, with the directories made and the checks done that runc does.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::Error;
use crate::{
    checkpoint::{
        CgroupsMode, Image, Keep, Kind, NetworkLock, Options, PageServer, Parent, Request,
    },
    cli::{
        goflag::Parsed,
        golang::{
            address::split_host_port,
            fs,
            number::{parse_bound, parse_bytes, parse_decimal},
            path,
            quote::{plain, quote},
        },
    },
};

/// Mode of every level of the image directory that runc's command creates.
const IMAGE_MODE: u32 = 0o600;

/// What runc's `criuOptions` has come to.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    parsed: &'a Parsed,
    image_dir: PathBuf,
    parent: Option<Parent>,
    page_server: Option<PageServer>,
}

/// Mirrors `criuOptions` of runc 1.5.2: the image directory is made, then the parent, the page
/// server and the namespaces are looked at.
///
/// # Errors
/// The first thing that runc would refuse, in its words.
pub(super) fn read<'a>(parsed: &'a Parsed, pwd: Option<&OsStr>) -> Result<Checked<'a>, Error> {
    let image_dir = image_dir(parsed.text("image-path"), pwd)?;
    fs::make_all(&image_dir, IMAGE_MODE).map_err(Error::ImagePath)?;
    let parent = parent(&image_dir, parsed.text("parent-path"))?;
    let page_server = page_server(parsed.text("page-server"))?;
    empty_namespaces(&parsed.list("empty-ns"))?;
    Ok(Checked {
        parsed,
        image_dir,
        parent,
        page_server,
    })
}

/// `getDefaultImagePath` of runc when none was given.
fn image_dir(given: &OsStr, pwd: Option<&OsStr>) -> Result<PathBuf, Error> {
    if given.is_empty() {
        let here = fs::current_dir(pwd).map_err(Error::CurrentDir)?;
        return Ok(path::join(&here, Path::new("checkpoint")));
    }
    Ok(PathBuf::from(given))
}

/// The parent rules of `prepareImagePaths`.
fn parent(image_dir: &Path, given: &OsStr) -> Result<Option<Parent>, Error> {
    if given.is_empty() {
        return Ok(None);
    }
    let given = Path::new(given);
    if given.is_absolute() {
        return Err(Error::ParentAbsolute);
    }
    let real = path::join(image_dir, given);
    let found = fs::stat(&real).map_err(Error::Parent)?;
    if !found.is_dir() {
        return Err(Error::Parent(fs::not_a_directory("", &real)));
    }
    Ok(Some(Parent {
        path: given.to_owned(),
        latest: false,
    }))
}

/// The page server's rules: both parts must be there, the port is a number cut to 32 bits.
fn page_server(given: &OsStr) -> Result<Option<PageServer>, Error> {
    if given.is_empty() {
        return Ok(None);
    }
    let given = given.to_str().ok_or(Error::PageServerForm)?;
    let (address, port) = split_host_port(given).ok_or(Error::PageServerForm)?;
    if address.is_empty() || port.is_empty() {
        return Err(Error::PageServerForm);
    }
    let port = parse_decimal(port.as_bytes()).map_err(|_| Error::PageServerPort)?;
    Ok(Some(PageServer {
        address: address.to_owned(),
        port: lower_half(port),
        tls: None,
    }))
}

/// Go's `int32(n)` and the kernel's own view of a descriptor number: the lower 32 bits.
fn lower_half(value: i64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Network alone can be left empty; it always is, so that there is nothing to keep.
fn empty_namespaces(given: &[OsString]) -> Result<(), Error> {
    match given.iter().find(|name| *name != "network") {
        Some(name) => Err(Error::EmptyNamespace(quote(name.as_bytes()))),
        None => Ok(()),
    }
}

impl Checked<'_> {
    /// `--manage-cgroups-mode`, which runc looks at later than at the rest.
    ///
    /// # Errors
    /// runc's text for any other mode.
    pub(super) fn cgroups_mode(&self) -> Result<CgroupsMode, Error> {
        Ok(plain(self.parsed.text("manage-cgroups-mode").as_bytes()).parse::<CgroupsMode>()?)
    }

    /// The request.
    ///
    /// # Errors
    /// [`Self::cgroups_mode`]'s; the other values were checked when the flags were read.
    pub(super) fn request(self) -> Result<Request, Error> {
        let cgroups_mode = self.cgroups_mode()?;
        let Self {
            parsed,
            image_dir,
            parent,
            page_server,
        } = self;
        let given = |name: &str| plain(parsed.text(name).as_bytes());
        let network_lock = match given("network-lock").as_str() {
            "" => NetworkLock::Auto,
            name => name.parse()?,
        };
        let work = parsed.text("work-path");
        let status_fd = parsed.int("status-fd");
        Ok(Request {
            kind: if parsed.bool("pre-dump") {
                Kind::PreDump
            } else {
                Kind::Dump
            },
            image: Image::InPlace {
                dir: image_dir,
                durable: parsed.bool("durable"),
            },
            work_dir: (!work.is_empty()).then(|| PathBuf::from(work)),
            parent,
            options: switches(parsed),
            page_server,
            lazy_pages_for: None,
            status_fd: (status_fd != -1).then(|| lower_half(status_fd)),
            cgroups_mode,
            network_lock,
            ghost_limit: parse_bytes(&given("ghost-limit")).ok(),
            timeout: parse_bound(&given("timeout")).ok().flatten(),
            max_pause: None,
            site_config: true,
            unlock_after_end: false,
            keep: Keep::default(),
        })
    }
}

fn switches(parsed: &Parsed) -> Options {
    Options {
        leave_running: parsed.bool("leave-running"),
        tcp_established: parsed.bool("tcp-established"),
        tcp_skip_in_flight: parsed.bool("tcp-skip-in-flight"),
        ext_unix_sk: parsed.bool("ext-unix-sk"),
        shell_job: parsed.bool("shell-job"),
        file_locks: parsed.bool("file-locks"),
        link_remap: parsed.bool("link-remap"),
        lazy_pages: parsed.bool("lazy-pages"),
        auto_dedup: parsed.bool("auto-dedup"),
        track_memory: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(given: &str) -> Result<Option<(String, i32)>, String> {
        page_server(OsStr::new(given))
            .map(|server| server.map(|PageServer { address, port, .. }| (address, port)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn page_servers_are_taken_and_refused_as_runc_does() {
        let form = || Err("Use --page-server ADDRESS:PORT to specify page server".to_owned());
        let port = || Err("Invalid port number".to_owned());
        let to = |address: &str, port| Ok(Some((address.to_owned(), port)));
        for (given, want) in [
            ("", Ok(None)),
            ("10.0.0.7:27277", to("10.0.0.7", 27277)),
            ("[::1]:80", to("::1", 80)),
            ("h:0", to("h", 0)),
            ("h:70000", to("h", 70000)),
            ("h:-1", to("h", -1)),
            ("h:4294967376", to("h", 80)),
            ("h", form()),
            ("h:", form()),
            (":80", form()),
            ("::1:80", form()),
            ("h:x", port()),
            ("h:0x50", port()),
            ("h: 80", port()),
            ("h:99999999999999999999", port()),
        ] {
            assert_eq!(server(given), want, "{given:?}");
        }
    }

    #[test]
    fn only_the_network_can_be_left_empty() {
        let check = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(OsString::from).collect();
            empty_namespaces(&names).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["network", "network"]), Ok(()));
        assert_eq!(
            check(&["network", "ipc"]),
            Err(r#"namespace "ipc" is not supported"#.to_owned())
        );
        assert_eq!(
            check(&["a\"\n"]),
            Err(r#"namespace "a\"\n" is not supported"#.to_owned())
        );
    }

    #[test]
    fn a_parent_is_a_directory_relative_to_the_image() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::create_dir(at("image")).unwrap();
        std::fs::create_dir(at("old")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        let check = |given: &str| {
            parent(&at("image"), OsStr::new(given)).map_err(|error| error.to_string())
        };
        assert_eq!(check(""), Ok(None));
        assert_eq!(
            check("../old"),
            Ok(Some(Parent {
                path: "../old".into(),
                latest: false,
            }))
        );
        assert_eq!(
            check("/old"),
            Err("--parent-path must be relative".to_owned())
        );
        let path = scratch.path().display();
        let gone = format!("invalid --parent-path: stat {path}/gone: no such file or directory");
        assert_eq!(check("../gone"), Err(gone));
        // runc leaves the operation out here, and its blank stays.
        let file = format!("invalid --parent-path:  {path}/file: not a directory");
        assert_eq!(check("../file"), Err(file));
    }
}
