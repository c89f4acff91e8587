//! Removes from the images that a complete one builds on what it holds anew, and tells how much that was.

use std::{path::Path, process::Stdio};

use crate::{
    checkpoint::Engine,
    controller::{
        failed::chain,
        place::{Ancestor, ImageRoot, Owner},
    },
    images::{self, Folder},
};

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deduplicated {
    /// Bytes that the images gave back to the disk.
    pub bytes_freed: u64,
    /// Whose images these are: each of them can be restored no more but through the complete one.
    pub parents: Vec<Owner>,
    /// Why not everything was removed that could have been.
    pub warning: Option<String>,
}

/// What an image takes of the disk, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    before: u64,
    after: u64,
}

impl Taken {
    fn freed(self) -> u64 {
        self.before.saturating_sub(self.after)
    }
}

/// Has `criu dedup` work on an image; `None` where it builds on none. The image can be restored either way.
pub(super) fn run(engine: &Engine, images: &ImageRoot, image: &Path) -> Option<Deduplicated> {
    let ancestors = match images.ancestors_of(image) {
        Ok(ancestors) if ancestors.is_empty() => return None,
        Ok(ancestors) => ancestors,
        Err(error) => {
            return Some(Deduplicated {
                warning: Some(left(&chain(&error))),
                ..Deduplicated::default()
            });
        }
    };
    let before: Vec<u64> = ancestors.iter().map(taken).collect();
    let failed = criu(engine, image).err();
    let taken = ancestors.iter().map(taken).zip(before);
    let taken = taken.map(|(after, before)| Taken { before, after });
    Some(sum(ancestors.iter().zip(taken), failed))
}

fn sum<'a>(
    all: impl Iterator<Item = (&'a Ancestor, Taken)>,
    warning: Option<String>,
) -> Deduplicated {
    let mut done = Deduplicated {
        warning,
        ..Deduplicated::default()
    };
    for (ancestor, taken) in all.filter(|(_, taken)| taken.freed() > 0) {
        done.bytes_freed = done.bytes_freed.saturating_add(taken.freed());
        done.parents.extend(ancestor.owner.clone());
    }
    done
}

/// What an image's pages take of the disk. One that cannot be looked at gives nothing back.
fn taken(ancestor: &Ancestor) -> u64 {
    let folder = Folder::open(&ancestor.path);
    folder
        .and_then(|folder| images::allocated(&folder))
        .unwrap_or(0)
}

/// Runs `criu dedup` on an image, and says what it said when it fails.
fn criu(engine: &Engine, image: &Path) -> Result<(), String> {
    let command = engine.launch.command();
    let output = command
        .map_err(|error| left(&error.to_string()))?
        .args(["dedup", "--no-default-config", "-D"])
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| left(&error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(left(said.lines().last().unwrap_or("it gave no reason")))
}

fn left(why: &str) -> String {
    format!("autoDedup has not removed all that it could: {why}")
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
        path::PathBuf,
    };

    use stillframe_crds::checkpoint::RelativePath;

    use super::*;
    use crate::controller::place::Phase;

    struct Scene {
        scratch: tempfile::TempDir,
        images: ImageRoot,
    }

    impl Scene {
        /// Three images, each on the one before it, and a CRIU that runs this script.
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let images = ImageRoot::open(&scratch.path().join("images")).unwrap();
            let scene = Self { scratch, images };
            for (name, parent) in [("a", None), ("b", Some("../a")), ("c", Some("../b"))] {
                let place = scene
                    .images
                    .place("shop", &RelativePath(name.into()))
                    .unwrap();
                place.reserve(&owner(name)).unwrap();
                let dir = scene.image(name);
                fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
                fs::write(dir.join("pages-1.img"), vec![1; 1 << 20]).unwrap();
                fs::write(dir.join("core-1.img"), vec![1; 1 << 20]).unwrap();
                if let Some(parent) = parent {
                    symlink(parent, dir.join("parent")).unwrap();
                }
            }
            scene
        }

        fn image(&self, name: &str) -> PathBuf {
            self.images.path().join("shop").join(name)
        }

        fn dedup(&self, image: &str, script: &str) -> Option<Deduplicated> {
            let program = self.scratch.path().join("criu");
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            let mut engine = Engine::of_this_host();
            engine.launch.program = program;
            run(&engine, &self.images, &self.image(image))
        }
    }

    fn owner(name: &str) -> Owner {
        Owner {
            uid: format!("uid-{name}"),
            namespace: "shop".into(),
            name: name.into(),
            pod_uid: "p".into(),
            container_id: "c".into(),
            phase: Phase::Started,
            report: None,
        }
    }

    fn names(done: &Deduplicated) -> Vec<&str> {
        done.parents
            .iter()
            .map(|owner| owner.name.as_str())
            .collect()
    }

    #[test]
    fn what_the_chain_gave_back_is_told_with_those_who_gave() {
        let scene = Scene::new();
        let punch = "[ \"$1 $2 $3\" = 'dedup --no-default-config -D' ] || exit 1
             fallocate -p -o 0 -l 524288 $4/../b/pages-1.img
             fallocate -p -o 0 -l 262144 $4/../a/pages-1.img";
        let done = scene.dedup("c", punch).unwrap();
        assert_eq!((done.bytes_freed, names(&done)), (786_432, vec!["b", "a"]));
        assert_eq!(done.warning, None);
        // Again there is nothing left to be had.
        let again = scene.dedup("c", punch).unwrap();
        assert_eq!(again, Deduplicated::default());
    }

    #[test]
    fn what_was_removed_before_it_failed_is_told_as_well() {
        let scene = Scene::new();
        let half = "fallocate -p -o 0 -l 524288 $4/../b/pages-1.img; echo no luck >&2; exit 1";
        let done = scene.dedup("c", half).unwrap();
        assert_eq!((done.bytes_freed, names(&done)), (524_288, vec!["b"]));
        let said = "autoDedup has not removed all that it could: no luck";
        assert_eq!(done.warning.as_deref(), Some(said));
    }

    #[test]
    fn an_image_that_builds_on_none_is_left_alone() {
        let scene = Scene::new();
        assert_eq!(scene.dedup("a", "exit 1"), None);
        // Nor does a link out of the root lead anywhere.
        symlink("/etc", scene.image("a").join("parent")).unwrap();
        assert_eq!(scene.dedup("a", "exit 1"), None);
    }
}
