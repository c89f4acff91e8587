//! The list of command lines, through the real runc and through ours, on a node.

use std::{collections::BTreeMap, env, fs, io, path::PathBuf, process::Command, process::Stdio};

use rig::compare::{Containers, Needed, Runner, parse};

const LIST: &str = include_str!("../suites/cli/commands.txt");

/// Containers made with runc as they are asked for, and removed at the end.
struct Made {
    runc: PathBuf,
    bundle: PathBuf,
    kept: BTreeMap<Needed, String>,
    all: Vec<String>,
}

impl Made {
    fn runc(&self, args: &[&str]) -> io::Result<()> {
        let status = Command::new(&self.runc)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("runc {args:?}: {status}")))
        }
    }
}

impl Containers for Made {
    fn id(&mut self, needed: Needed) -> io::Result<String> {
        if let Some(id) = self.kept.get(&needed) {
            return Ok(id.clone());
        }
        let id = format!("case-{}-{}", std::process::id(), self.all.len());
        let bundle = self.bundle.to_string_lossy().into_owned();
        let verb: &[&str] = match needed {
            Needed::Created => &["create"],
            _ => &["run", "--detach"],
        };
        self.runc(&[verb, &["--bundle", &bundle, &id]].concat())?;
        self.all.push(id.clone());
        match needed {
            Needed::Paused => self.runc(&["pause", &id])?,
            Needed::Stopped => {
                self.runc(&["kill", &id, "KILL"])?;
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
            Needed::None | Needed::Running | Needed::Created | Needed::Fresh => {}
        }
        if needed != Needed::Fresh {
            self.kept.insert(needed, id.clone());
        }
        Ok(id)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for id in &self.all {
            // A container that its checkpoint ended is gone already.
            let _ = Command::new(&self.runc)
                .args(["delete", "--force", id])
                .output();
        }
    }
}

fn setting(name: &str) -> PathBuf {
    let value = env::var_os(name);
    assert!(value.is_some(), "{name} must be set");
    value.map(PathBuf::from).unwrap_or_default()
}

/// `STILLFRAME_RUNC` and `STILLFRAME_AGENT` are the programs, `STILLFRAME_BUNDLE` an OCI bundle whose
/// process goes on; `STILLFRAME_CASES=early` leaves the dumps out.
#[test]
#[ignore = "needs root on a node with runc, CRIU, script(1) and the settings named above"]
fn every_command_line_comes_to_the_same_as_with_runc() {
    let early = env::var_os("STILLFRAME_CASES").is_some_and(|cases| cases == "early");
    let mut cases = parse(LIST).unwrap();
    cases.retain(|case| !(early && case.dump));
    let scratch = env::temp_dir().join(format!("stillframe-cases-{}", std::process::id()));
    fs::create_dir(&scratch).unwrap();
    let runc = setting("STILLFRAME_RUNC");
    let mut made = Made {
        runc: runc.clone(),
        bundle: setting("STILLFRAME_BUNDLE"),
        kept: BTreeMap::new(),
        all: Vec::new(),
    };
    let runner = Runner {
        theirs: runc,
        ours: setting("STILLFRAME_AGENT"),
        scratch: scratch.clone(),
    };
    let wrong = runner.run(&cases, &mut made);
    drop(made);
    fs::remove_dir_all(&scratch).unwrap();
    let wrong = wrong.unwrap();
    assert!(
        wrong.is_empty(),
        "of {} command lines:\n{wrong}",
        cases.len()
    );
}
