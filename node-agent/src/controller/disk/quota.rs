//! Whether a namespace may have another image on this node: what its images take, what the dumps
//! under way may, and the administrator's limit.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use stillframe_crds::Reason;

use super::{InvalidSize, bytes, readable};

/// The most that the images of one namespace may take on this node: `--namespace-limit`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NamespaceLimit(pub Option<u64>);

impl FromStr for NamespaceLimit {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self(None)),
            size => bytes(size).map(|bytes| Self(Some(bytes))),
        }
    }
}

impl fmt::Display for NamespaceLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(out, "{bytes}"),
            None => out.write_str("off"),
        }
    }
}

/// The images of a namespace would take more than they may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the image may take {}, and the images of namespace {namespace} take {} of the {} that they may take on this node{}",
    readable(*needed),
    readable(*used),
    readable(*limit),
    under_way(*promised)
)]
pub struct LimitExceeded {
    /// Whose images.
    pub namespace: String,
    /// What the image may take, in bytes.
    pub needed: u64,
    /// What those that are complete take.
    pub used: u64,
    /// What those may take that are being written.
    pub promised: u64,
    /// The limit.
    pub limit: u64,
}

impl LimitExceeded {
    /// The stable word for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::NamespaceLimit
    }
}

fn under_way(promised: u64) -> String {
    if promised == 0 {
        return String::new();
    }
    format!("; the dumps under way may take {}", readable(promised))
}

/// Whether a namespace may have another image of `needed` bytes.
///
/// # Errors
/// It may not.
fn allows(
    namespace: &str,
    limit: u64,
    used: u64,
    promised: u64,
    needed: u64,
) -> Result<(), LimitExceeded> {
    if used.saturating_add(promised).saturating_add(needed) <= limit {
        return Ok(());
    }
    Err(LimitExceeded {
        namespace: namespace.to_owned(),
        needed,
        used,
        promised,
        limit,
    })
}

/// What has been promised to the dumps under way, by namespace: two that begin at once do not both
/// get the room that is there for one.
#[derive(Debug, Clone, Default)]
pub struct Promises(Arc<Mutex<HashMap<String, u64>>>);

/// Room that a dump was promised, until this is dropped.
#[derive(Debug)]
#[must_use = "the promise is taken back at once"]
pub struct Promise {
    of: Promises,
    namespace: String,
    bytes: u64,
}

impl Promises {
    /// Promises `needed` bytes to a dump of a namespace, whose complete images take `used` as they
    /// are counted once no other dump can be promised anything.
    ///
    /// # Errors
    /// The namespace may not have them, or the images could not be counted.
    pub fn promise<E: From<LimitExceeded>>(
        &self,
        namespace: &str,
        limit: u64,
        needed: u64,
        used: impl FnOnce() -> Result<u64, E>,
    ) -> Result<Promise, E> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let promised = all.get(namespace).copied().unwrap_or_default();
        allows(namespace, limit, used()?, promised, needed)?;
        all.insert(namespace.to_owned(), promised.saturating_add(needed));
        Ok(Promise {
            of: self.clone(),
            namespace: namespace.to_owned(),
            bytes: needed,
        })
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut all = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.get(&self.namespace).copied().unwrap_or_default();
        match left.saturating_sub(self.bytes) {
            0 => all.remove(&self.namespace),
            left => all.insert(self.namespace.clone(), left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_limit_is_a_size_or_off() {
        assert_eq!("off".parse(), Ok(NamespaceLimit(None)));
        assert_eq!("10Gi".parse(), Ok(NamespaceLimit(Some(10 << 30))));
        for text in ["", "10%", "10G", "-1", "none"] {
            assert!(text.parse::<NamespaceLimit>().is_err(), "{text}");
        }
        for limit in [NamespaceLimit(None), NamespaceLimit(Some(7))] {
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn what_is_there_what_is_under_way_and_what_is_to_come_stay_below_the_limit() {
        for (used, promised, needed, fits) in [
            (0, 0, 100, true),
            (0, 0, 101, false),
            (60, 0, 40, true),
            (60, 1, 40, false),
            (101, 0, 0, false),
            (u64::MAX, u64::MAX, 1, false),
        ] {
            let answer = allows("shop", 100, used, promised, needed);
            assert_eq!(answer.is_ok(), fits, "{used} {promised} {needed}");
        }
    }

    #[test]
    fn a_refusal_tells_the_numbers() {
        let error = allows("shop", 100 * MIB, 64 * MIB, 0, 48 * MIB).unwrap_err();
        assert_eq!(error.reason(), Reason::NamespaceLimit);
        assert_eq!(
            error.to_string(),
            "the image may take 48.0 MiB, and the images of namespace shop take 64.0 MiB of the \
             100.0 MiB that they may take on this node"
        );
        let error = allows("shop", 100 * MIB, 64 * MIB, 16 * MIB, 48 * MIB).unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with("; the dumps under way may take 16.0 MiB"),
            "{text}"
        );
    }

    #[test]
    fn room_is_promised_once_and_given_back() {
        let promises = Promises::default();
        let ask =
            |namespace: &str| promises.promise(namespace, 100, 60, || Ok::<u64, LimitExceeded>(0));
        let first = ask("shop").unwrap();
        assert_eq!(ask("shop").unwrap_err().promised, 60);
        let other = ask("bank").unwrap();
        drop(first);
        let again = ask("shop").unwrap();
        drop((other, again));
        assert!(promises.0.lock().unwrap().is_empty());
    }
}
