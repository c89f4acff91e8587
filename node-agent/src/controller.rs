//! The agent's controller: what it stands on.

pub mod disk;
pub mod identity;
pub mod lease;
#[cfg(test)]
mod mocked;
pub mod node;
pub mod place;

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
