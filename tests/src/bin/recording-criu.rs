//! Stands in for CRIU: tells a version and features, keeps the request for a dump in a file beside itself, and refuses it.

use std::error::Error;
use std::fs;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::socket::{MsgFlags, getsockopt, recv, send, sockopt::PeerCredentials};
use node_agent::criu::messages::{CriuFeatures, CriuOpts, CriuReq, CriuResp, CriuVersion, ReqType};
use prost::Message as _;
use rig::recorder::{ANSWERS, Answers, HEARD, Heard};

/// More than any request has.
const LONGEST_REQUEST: usize = 1 << 20;
/// The error number of a refusal.
const REFUSED: i32 = 1;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [verb, number] = words.as_slice() else {
        return real_criu(&words);
    };
    let (Ok(socket), "swrk") = (number.parse(), verb.as_str()) else {
        return real_criu(&words);
    };
    match serve(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recording-criu: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `criu check` and the like are not what is recorded.
fn real_criu(words: &[String]) -> ExitCode {
    let error = Command::new("/usr/sbin/criu").args(words).exec();
    eprintln!("recording-criu: {error}");
    ExitCode::FAILURE
}

/// Answers on the socket that a caller of `criu swrk NUMBER` hands over.
fn serve(socket: RawFd) -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let folder = program.parent().map(Path::to_owned).unwrap_or_default();
    let answers: Answers = serde_json::from_slice(&fs::read(folder.join(ANSWERS))?)?;
    let mut buffer = vec![0; LONGEST_REQUEST];
    loop {
        let length = recv(socket, &mut buffer, MsgFlags::empty())?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        let request = CriuReq::decode(bytes)?;
        let kind = request.r#type();
        let response = match kind {
            ReqType::Version => version(answers),
            ReqType::FeatureCheck => features(&request, answers),
            _ => {
                record(&folder, socket, bytes, request.opts.as_ref())?;
                CriuResp {
                    success: false,
                    cr_errno: Some(REFUSED),
                    ..CriuResp::default()
                }
            }
        };
        let response = CriuResp {
            r#type: kind.into(),
            ..response
        };
        send(socket, &response.encode_to_vec(), MsgFlags::MSG_NOSIGNAL)?;
        if request.keep_open != Some(true) {
            return Ok(());
        }
    }
}

fn version(answers: Answers) -> CriuResp {
    let [major_number, minor_number, sublevel] = answers.version;
    CriuResp {
        success: true,
        version: Some(CriuVersion {
            major_number,
            minor_number,
            sublevel: Some(sublevel),
            ..CriuVersion::default()
        }),
        ..CriuResp::default()
    }
}

fn features(request: &CriuReq, answers: Answers) -> CriuResp {
    let asked = request.features.clone().unwrap_or_default();
    let answer = |asked: Option<bool>| asked.map(|_| answers.features);
    CriuResp {
        success: true,
        features: Some(CriuFeatures {
            mem_track: answer(asked.mem_track),
            lazy_pages: answer(asked.lazy_pages),
            pidfd_store: answer(asked.pidfd_store),
        }),
        ..CriuResp::default()
    }
}

/// Keeps the request, and what the caller's descriptors are: CRIU finds them as this does, by the socket's peer.
fn record(
    folder: &Path,
    socket: RawFd,
    bytes: &[u8],
    options: Option<&CriuOpts>,
) -> Result<(), Box<dyn Error>> {
    #[expect(
        unsafe_code,
        reason = "the socket's number is agreed upon, nobody hands over an object"
    )]
    // SAFETY: the caller started this process with the socket at this number, and nothing here closes it.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    let caller = getsockopt(&socket, PeerCredentials)?.pid();
    let place = |number: i32| -> Option<String> {
        let link = PathBuf::from(format!("/proc/{caller}/fd/{number}"));
        Some(fs::read_link(link).ok()?.to_string_lossy().into_owned())
    };
    let heard = Heard {
        request: bytes.to_vec(),
        images: options.and_then(|options| place(options.images_dir_fd)),
        work: options.and_then(|options| place(options.work_dir_fd?)),
    };
    fs::write(folder.join(HEARD), serde_json::to_vec(&heard)?)?;
    Ok(())
}
