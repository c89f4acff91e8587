//! An open file whose name is gone: a ghost file for CRIU, or a link remap when another name is left.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::cli::Publishing;
use crate::error::Error;
use crate::random;
use crate::state::StateFile;

#[derive(Debug, Args)]
pub(crate) struct UnlinkedArgs {
    #[command(flatten)]
    publishing: Publishing,
    /// The folder of the file.
    #[arg(long, value_name = "DIR", default_value = "/out")]
    dir: PathBuf,
    /// Its size in bytes; CRIU saves ghosts up to 1 MiB unless told otherwise.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    size: usize,
    /// Leaves a second name, `linked`, so that the file has a link but not the one it was opened by.
    #[arg(long)]
    keep_link: bool,
    /// The seed of the content.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seed: u64,
}

/// Publishes `intact` and the file's `size` and `links`.
pub(crate) fn run(args: &UnlinkedArgs) -> Result<(), Error> {
    let mut state = StateFile::create(&args.publishing.state, "unlinked")?;
    let file = make(args)?;
    let mut ticks: u64 = 0;
    loop {
        ticks += 1;
        let mut content = vec![0; args.size];
        file.read_exact_at(&mut content, 0)
            .map_err(|source| Error::system("read the unlinked file", source))?;
        let intact = content == random::bytes(args.seed, args.size);
        let links = links(&file)?;
        state.publish(&[
            ("ticks", &ticks),
            ("intact", &intact),
            ("size", &args.size),
            ("links", &links),
        ])?;
        thread::sleep(Duration::from_millis(args.publishing.tick_ms));
    }
}

fn make(args: &UnlinkedArgs) -> Result<File, Error> {
    let path = args.dir.join("unlinked");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|source| Error::file("open", path.as_path(), source))?;
    file.write_all_at(&random::bytes(args.seed, args.size), 0)
        .map_err(|source| Error::file("write", path.as_path(), source))?;
    if args.keep_link {
        let second = args.dir.join("linked");
        if second.exists() {
            std::fs::remove_file(&second)
                .map_err(|source| Error::file("remove", second.as_path(), source))?;
        }
        std::fs::hard_link(&path, &second)
            .map_err(|source| Error::file("link", second.as_path(), source))?;
    }
    std::fs::remove_file(&path).map_err(|source| Error::file("remove", path.as_path(), source))?;
    Ok(file)
}

fn links(file: &File) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata()
        .map(|metadata| metadata.nlink())
        .map_err(|source| Error::system("look at the unlinked file", source))
}
