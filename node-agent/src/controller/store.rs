//! What is kept in memory of this node's objects: all of an unfinished one, a few words of the others.

use std::collections::HashMap;

use kube::ResourceExt as _;
use stillframe_crds::{ContainerCheckpoint, checkpoint::RelativePath};

use super::order;

/// An object's UID.
pub type Uid = String;

/// What is kept of an object.
#[derive(Debug)]
enum Known {
    /// There may be something to do about it.
    Whole(Box<ContainerCheckpoint>),
    /// It has ended, and is only somebody's parent or child.
    Ended(Box<Ended>),
}

#[derive(Debug)]
struct Ended {
    namespace: String,
    name: String,
    version: Option<String>,
    image: Option<RelativePath>,
    parent: Option<String>,
}

/// The objects of this node.
#[derive(Debug, Default)]
pub struct Store {
    objects: HashMap<Uid, Known>,
}

impl Store {
    /// Takes over an object, unless a later version of it is known. Says whether it is news: the
    /// same version again is none.
    pub fn put(&mut self, mut object: ContainerCheckpoint) -> bool {
        let Some(uid) = object.uid() else {
            return false;
        };
        let known = self.objects.get(&uid).and_then(|known| match known {
            Known::Whole(object) => object.metadata.resource_version.as_deref(),
            Known::Ended(ended) => ended.version.as_deref(),
        });
        let version = object.metadata.resource_version.as_deref();
        if is_older(version, known) {
            return false;
        }
        let news = known.is_none() || known != version;
        object.metadata.managed_fields = None;
        object.metadata.annotations = None;
        object.metadata.labels = None;
        let known = if object.is_finished() && !object.is_deleted() {
            Known::Ended(Box::new(Ended::of(&object)))
        } else {
            Known::Whole(Box::new(object))
        };
        self.objects.insert(uid, known);
        news
    }

    /// Forgets an object.
    pub fn remove(&mut self, uid: &str) {
        self.objects.remove(uid);
    }

    /// All of an object, unless it has ended and nobody has deleted it.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&ContainerCheckpoint> {
        match self.objects.get(uid)? {
            Known::Whole(object) => Some(object),
            Known::Ended(_) => None,
        }
    }

    /// The objects that have not ended, and those that are being deleted, the oldest first.
    #[must_use]
    pub fn open(&self) -> Vec<Box<ContainerCheckpoint>> {
        let whole = |known: &Known| match known {
            Known::Whole(object) => Some(object.clone()),
            Known::Ended(_) => None,
        };
        let mut open: Vec<_> = self.objects.values().filter_map(whole).collect();
        open.sort_by(|one, other| {
            let key = |object: &ContainerCheckpoint| {
                let created = object.metadata.creation_timestamp.as_ref();
                created.map(|created| created.0)
            };
            key(one)
                .cmp(&key(other))
                .then(one.metadata.name.cmp(&other.metadata.name))
        });
        open
    }

    /// How many objects are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Every object.
    pub fn uids(&self) -> impl Iterator<Item = &Uid> {
        self.objects.keys()
    }

    /// The image directory of a finished checkpoint, below its namespace's.
    #[must_use]
    pub fn image_of(&self, namespace: &str, name: &str) -> Option<RelativePath> {
        self.objects.iter().find_map(|(uid, known)| match known {
            Known::Ended(ended) if ended.namespace == namespace && ended.name == name => {
                let default =
                    || RelativePath(stillframe_crds::names::default_image_path(name, uid));
                Some(ended.image.clone().unwrap_or_else(default))
            }
            Known::Whole(object)
                if object.is_finished()
                    && object.namespace().as_deref() == Some(namespace)
                    && object.name_any() == name =>
            {
                Some(order::image_path(object))
            }
            Known::Ended(_) | Known::Whole(_) => None,
        })
    }

    /// The checkpoints that build on the named one.
    #[must_use]
    pub fn children_of(&self, namespace: &str, name: &str) -> Vec<String> {
        let parent_of = |known: &Known| match known {
            Known::Ended(ended) if ended.namespace == namespace => {
                (ended.parent.as_deref() == Some(name)).then(|| ended.name.clone())
            }
            Known::Whole(object) if object.namespace().as_deref() == Some(namespace) => {
                let parent = object.spec.options.parent_ref.as_ref();
                let failed = object.status.as_ref().is_some_and(|s| s.failure.is_some());
                let builds = parent.is_some_and(|parent| parent.name == name) && !failed;
                builds.then(|| object.name_any())
            }
            Known::Ended(_) | Known::Whole(_) => None,
        };
        let mut children: Vec<_> = self.objects.values().filter_map(parent_of).collect();
        children.sort();
        children
    }
}

impl Ended {
    fn of(object: &ContainerCheckpoint) -> Self {
        let artifact = object.status.as_ref().and_then(|s| s.artifact.as_ref());
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            version: object.resource_version(),
            image: object.spec.options.image_path.clone(),
            parent: artifact.and_then(|artifact| artifact.parent.clone()),
        }
    }
}

/// Whether the one version comes before the other. Where they are no numbers the one is taken to
/// be the later.
fn is_older(one: Option<&str>, known: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|text| text.parse::<u64>().ok());
    match (number(one), number(known)) {
        (Some(one), Some(known)) => one < known,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
