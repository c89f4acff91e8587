//! There and back: a workload's memory before the dump, and the same memory going on after the restore.

use rig::container::Runtime;
use rig::shown::{How, Outcome, Place, record};
use rig::{Container, Node, Output, Program, Shape};

/// The state file of a container's first process.
pub(crate) const STATE: &str = "/out/state";

/// Which program dumps the containers of which runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// The program.
    pub(crate) program: Program,
    /// The runtime, which makes them and restores them.
    pub(crate) runtime: Runtime,
}

impl Subject {
    /// A container of the runtime with a name that begins so.
    pub(crate) fn shape(self, stem: &str) -> Shape<'static> {
        let node = Node::shared();
        Shape::new(node, node.unique(stem)).runtime(self.runtime)
    }

    /// Notes that an option made its difference and that the container came back, if it was our program that was asked.
    pub(crate) fn shown(self, option: &str) {
        self.found(option, Outcome::Restored);
    }

    /// The same with another outcome.
    pub(crate) fn found(self, option: &str, outcome: Outcome) {
        if self.program == Program::Ours {
            let place = Place::of(Node::shared(), self.runtime);
            record(option, &place, How::Command, outcome);
        }
    }
}

/// Waits until a workload has ticked, and says under which session and how often.
pub(crate) fn seen(container: &Container<'_>, file: &str) -> (String, u64) {
    let state = container.published_when(file, |state| state.number("ticks") > 3);
    (state.text("session").to_owned(), state.number("ticks"))
}

/// Asserts that a workload goes on from what was seen of it: the same memory, and later.
pub(crate) fn goes_on(container: &Container<'_>, file: &str, (session, ticks): &(String, u64)) {
    // Twice, since the first may be what was written before the restore.
    let first = container.published_when(file, |state| state.number("ticks") >= *ticks);
    let later =
        container.published_when(file, |state| state.number("seq") > first.number("seq") + 3);
    assert_eq!(later.text("session"), session, "it is another process");
    assert!(later.number("ticks") > *ticks, "it went back in time");
}

/// Dumps it so that it ends, into `image` of its bundle.
pub(crate) fn dump(container: &Container<'_>, program: Program, flags: &[&str]) -> Output {
    let mut all = vec!["--image-path", "image"];
    all.extend(flags);
    let output = container.checkpoint(program, &all).ok();
    if !flags.contains(&"--output") {
        assert_eq!(output.stdout, "", "a success says nothing");
    }
    if !flags.contains(&"--leave-running") {
        assert_eq!(container.status(), "gone");
    }
    output
}

/// Restores it from `image` of its bundle.
pub(crate) fn restore(container: &mut Container<'_>, flags: &[&str]) {
    let image = format!("{}/image", container.bundle());
    let output = container.restore(&image, flags);
    assert!(
        output.succeeded(),
        "the restore failed: {output:#?}\n{}",
        log(container, "restore.log")
    );
}

/// Dumps and restores it and asserts that its first process goes on.
pub(crate) fn there_and_back(
    container: &mut Container<'_>,
    program: Program,
    dump_flags: &[&str],
    restore_flags: &[&str],
) {
    let before = seen(container, STATE);
    dump(container, program, dump_flags);
    restore(container, restore_flags);
    goes_on(container, STATE, &before);
}

/// Asserts that a dump is refused for this reason of CRIU's, and that the container takes no harm.
pub(crate) fn refused(container: &Container<'_>, program: Program, flags: &[&str], reason: &str) {
    let mut all = vec!["--image-path", "refused"];
    all.extend(flags);
    // Before, it may not have come to what is refused.
    let before = seen(container, STATE);
    let output = container.checkpoint(program, &all);
    assert_eq!(output.status, 1, "{output:#?}");
    assert!(output.stderr.contains(reason), "{output:#?}");
    assert!(container.is_running());
    goes_on(container, STATE, &before);
}

/// The errors in a log of CRIU's in the container's image.
fn log(container: &Container<'_>, name: &str) -> String {
    let file = container.file("/").join("../image").join(name);
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains("Error"))
        .collect::<Vec<_>>()
        .join("\n")
}
