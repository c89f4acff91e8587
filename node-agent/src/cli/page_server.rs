//! `page-server`: receives the memory of a checkpoint that another node makes.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, CommandFactory as _, Parser, ValueEnum};

mod output;

use super::verb;
use crate::{
    controller::{args::duration, engine::CriuOf},
    criu::{Cancel, Tls},
    receive::{self, Request},
};
use output::Printer;

/// How it is called.
const VERB: &str = "page-server";

/// Receives the memory of one checkpoint that another node makes, complete or not at all.
///
/// It prints where it listens, and in the end what it has received: the directory, its size, and its
/// digest. It ends after one checkpoint, and exits with 0 when the directory is there. The rest of the
/// image is where the checkpoint was made; both halves in one directory are what `runc restore` reads.
#[derive(Debug, Parser)]
#[command(name = VERB, bin_name = "stillframe-node-agent page-server")]
struct Arguments {
    /// The directory that the pages go to. It must not exist, and appears once all of them are on disk.
    #[arg(long, value_name = "DIR")]
    image_path: PathBuf,
    /// Where CRIU keeps page-server.log; with the pages unless it is given.
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    address: IpAddr,
    /// The TCP port; 0 is any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The only address that may send; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    from: Vec<IpAddr>,
    #[command(flatten)]
    tls: TlsArguments,
    /// How long it may take from the start to the last page, such as 90s or 10m.
    #[arg(long, default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// What to print on stdout.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Whose CRIU receives.
    #[arg(long, env = "STILLFRAME_CRIU", value_enum, default_value_t)]
    criu: CriuOf,
}

#[derive(Debug, Args)]
struct TlsArguments {
    /// The certificate of the authority that both sides trust.
    #[arg(long, value_name = "FILE", required_unless_present = "no_tls")]
    tls_ca: Option<PathBuf>,
    /// This side's certificate; it has to name the address that the sender is told.
    #[arg(long, value_name = "FILE", required_unless_present = "no_tls")]
    tls_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", required_unless_present = "no_tls")]
    tls_key: Option<PathBuf>,
    /// Certificates that are revoked.
    #[arg(long, value_name = "FILE")]
    tls_crl: Option<PathBuf>,
    /// The sender's certificate has to name the address that it sends from.
    #[arg(long)]
    tls_check_sender: bool,
    /// Receive in the clear, from anybody who can connect: only where the network is trusted.
    #[arg(long, conflicts_with_all = ["tls_ca", "tls_cert", "tls_key", "tls_crl", "tls_check_sender"])]
    no_tls: bool,
}

impl TlsArguments {
    /// What CRIU is handed; nothing for a connection in the clear.
    fn tls(self) -> Option<Tls> {
        let Self {
            tls_ca,
            tls_cert,
            tls_key,
            tls_crl,
            tls_check_sender,
            no_tls: _,
        } = self;
        Some(Tls {
            ca: tls_ca?,
            revoked: tls_crl,
            certificate: tls_cert?,
            key: tls_key?,
            check_name: tls_check_sender,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people.
    Text,
    /// A JSON object in each line: `listening`, then `received` or `failure`.
    Json,
}

/// The verb's help.
pub(crate) fn help() -> String {
    Arguments::command().render_long_help().to_string()
}

/// Carries out the verb and says the exit status: 0, 1 when nothing has been received, 2 when the
/// arguments cannot be read.
pub(crate) fn run(args: &[OsString], cancel: &Cancel) -> u8 {
    let arguments: Arguments = match verb::arguments(VERB, args) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let launch = match verb::launch(VERB, arguments.criu) {
        Ok(launch) => launch,
        Err(status) => return status,
    };
    let mut printer = Printer::new(arguments.output == Output::Json);
    let request = Request {
        listen: SocketAddr::new(arguments.address, arguments.port),
        from: arguments.from,
        image: arguments.image_path,
        work_dir: arguments.work_path,
        tls: arguments.tls.tls(),
        timeout: Some(arguments.timeout),
    };
    match receive::run(&launch, &request, cancel, &mut printer) {
        Ok(report) => u8::from(printer.received(&report).is_err()),
        Err(error) => {
            printer.failed(&error);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let all = ["page-server", "--image-path", "x"].iter().chain(arguments);
        Arguments::try_parse_from(all)
    }

    #[test]
    fn encryption_is_left_out_by_name_alone() {
        assert!(read(&[]).is_err());
        assert!(read(&["--no-tls"]).unwrap().tls.tls().is_none());
        let keys = ["--tls-ca", "ca", "--tls-cert", "c", "--tls-key", "k"];
        let tls = read(&keys).unwrap().tls.tls().unwrap();
        assert_eq!(tls.ca, PathBuf::from("ca"));
        assert!(!tls.check_name && tls.revoked.is_none());
        assert!(read(&keys[..4]).is_err());
        assert!(read(&["--no-tls", "--tls-ca", "ca"]).is_err());
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for wrong in [
            ["--no-tls", "--port=65536"],
            ["--no-tls", "--address=here"],
            ["--no-tls", "--from=10.0.0.0/8"],
            ["--no-tls", "--timeout=soon"],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }
}
