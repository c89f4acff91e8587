//! Where below the image root something lies: plain names, joined and compared without a look at
//! the disk.

use std::path::{Component, Path, PathBuf};

use stillframe_crds::{checkpoint::RelativePath, names::RESERVED_ENDINGS};

use super::Error;

/// Longest name of one part; the agent's endings still fit behind it.
const MAX_PART: usize = 200;
/// Longest path.
const MAX_PATH: usize = 512;

/// A name in a directory, each a normal component; the first directory is the namespace's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) parents: Vec<String>,
    pub(super) name: String,
}

impl Spot {
    /// The spot of a path in a namespace. Objects are hostile: what their schema refuses is
    /// refused here once more.
    pub(super) fn of(namespace: &str, path: &RelativePath) -> Result<Self, Error> {
        let RelativePath(text) = path;
        let refused = |problem| Error::Path {
            path: text.chars().take(MAX_PATH).collect(),
            problem,
        };
        if text.len() > MAX_PATH {
            return Err(refused("it is longer than 512 bytes"));
        }
        let mut parents = vec![namespace.to_owned()];
        parents.extend(text.split('/').map(str::to_owned));
        for part in &parents {
            if let Some(problem) = wrong_with(part) {
                return Err(refused(problem));
            }
        }
        let name = parents.pop().unwrap_or_default();
        Ok(Self { parents, name })
    }

    /// The directory of the namespace.
    pub(super) fn namespace(&self) -> &str {
        self.parents.first().map_or("", String::as_str)
    }

    /// What lies beside it under one of the agent's endings.
    pub(super) fn beside(&self, ending: &str) -> Self {
        Self {
            parents: self.parents.clone(),
            name: format!("{}{ending}", self.name),
        }
    }

    /// The name of the image while it is written.
    pub(super) fn partial(&self) -> String {
        format!("{}.partial", self.name)
    }

    /// The path below the image root.
    pub(super) fn path(&self) -> PathBuf {
        self.parents.iter().chain([&self.name]).collect()
    }

    /// Whether one of the two lies in the other, or is it.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.path(), other.path());
        ours.starts_with(&theirs) || theirs.starts_with(&ours)
    }

    /// The path from the directory of this spot to another spot.
    pub(super) fn path_to(&self, other: &Self) -> PathBuf {
        let (from, to) = (self.path(), other.path());
        let common = from
            .components()
            .zip(to.components())
            .take_while(|(one, other)| one == other)
            .count();
        let up = from.components().skip(common).map(|_| Component::ParentDir);
        up.chain(to.components().skip(common)).collect()
    }
}

/// Where a link's target lies below the image root, from the text alone: there are no links below
/// the root through which `..` could mean anything else. `None` when it lies outside.
pub(super) fn reached(root: &Path, dir: &Path, target: &Path) -> Option<PathBuf> {
    let (mut at, target) = if target.is_absolute() {
        (PathBuf::new(), target.strip_prefix(root).ok()?)
    } else {
        (dir.to_owned(), target)
    };
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !at.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(at)
}

fn wrong_with(part: &str) -> Option<&'static str> {
    if part.is_empty() || part == "." || part == ".." {
        return Some("it has an empty, . or .. part");
    }
    if part.len() > MAX_PART {
        return Some("a part of it is longer than 200 bytes");
    }
    if part.contains('/') || part.chars().any(char::is_control) {
        return Some("it has control characters");
    }
    RESERVED_ENDINGS
        .iter()
        .any(|ending| part.ends_with(ending))
        .then_some("a part of it ends with .partial, .work or .owner, which are the agent's own")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spot(path: &str) -> Spot {
        Spot::of("shop", &RelativePath(path.into())).unwrap()
    }

    #[test]
    fn only_paths_of_normal_parts_are_taken() {
        let long = "x".repeat(201);
        let longer = ["x"; 300].join("/");
        for bad in [
            "",
            "/",
            "/etc",
            "a//b",
            "a/",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            "a\nb",
            "a\0b",
            "x.owner",
            "x.partial/y",
            "x.work",
            &long,
            &longer,
        ] {
            let error = Spot::of("shop", &RelativePath(bad.into())).unwrap_err();
            assert_eq!(
                error.reason(),
                stillframe_crds::Reason::InvalidSpec,
                "{bad:?}"
            );
        }
        for namespace in ["", "..", "a/b", "a.owner"] {
            assert!(
                Spot::of(namespace, &RelativePath("x".into())).is_err(),
                "{namespace:?}"
            );
        }
        assert_eq!(
            spot("nightly/counter").path(),
            Path::new("shop/nightly/counter")
        );
        assert_eq!(spot(&"x".repeat(200)).name.len(), 200);
    }

    #[test]
    fn the_link_to_a_parent_goes_up_as_far_as_needed() {
        let link = |from: &str, to: &str| spot(from).path_to(&spot(to));
        assert_eq!(link("b", "a"), Path::new("../a"));
        assert_eq!(link("nightly/b", "nightly/a"), Path::new("../a"));
        assert_eq!(link("nightly/b", "a"), Path::new("../../a"));
        assert_eq!(link("b", "weekly/deep/a"), Path::new("../weekly/deep/a"));
    }

    #[test]
    fn what_lies_in_the_other_overlaps() {
        assert!(spot("a").overlaps(&spot("a")));
        assert!(spot("a").overlaps(&spot("a/b")));
        assert!(spot("a/b").overlaps(&spot("a")));
        assert!(!spot("a/b").overlaps(&spot("a/c")));
        assert!(!spot("ab").overlaps(&spot("a")));
    }

    #[test]
    fn links_are_followed_by_their_text() {
        let root = Path::new("/images");
        let to = |dir: &str, target: &str| reached(root, Path::new(dir), Path::new(target));
        assert_eq!(to("shop/b", "../a"), Some("shop/a".into()));
        assert_eq!(to("shop/b", ".././a/"), Some("shop/a".into()));
        assert_eq!(to("shop/b", "/images/shop/a"), Some("shop/a".into()));
        assert_eq!(to("shop/b", "/etc"), None);
        assert_eq!(to("shop/b", "../../../etc"), None);
    }

    proptest! {
        #[test]
        fn a_link_leads_where_it_was_made_to_lead(
            from in "[a-c]{1,2}(/[a-c]{1,2}){0,3}",
            to in "[a-c]{1,2}(/[a-c]{1,2}){0,3}",
        ) {
            let (from, to) = (spot(&from), spot(&to));
            let back = reached(Path::new("/r"), &from.path(), &from.path_to(&to));
            prop_assert_eq!(back, Some(to.path()));
        }

        #[test]
        fn any_text_is_judged_without_panic(text in ".{0,40}") {
            if let Ok(spot) = Spot::of("shop", &RelativePath(text)) {
                prop_assert!(spot.path().components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
