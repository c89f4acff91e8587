//! Pre-copy on the command line: dumps of memory that build on each other, and what the last one still has to write.

use std::time::Duration;

use node_agent::images::DumpStats;
use rig::container::Runtime;
use rig::shown::{How, Outcome, Place, record};
use rig::{Container, Node, Output, Program, Shape};

/// Where a workload publishes.
const STATE: &str = "/out/state";

/// How long a dump of a large process may take where every instruction is emulated.
const DUMPING: Duration = Duration::from_mins(3);

/// What the final dump may write beside a plain dump of the same process.
const SHARE: f64 = 0.35;

/// An image that was written: its name in the container's bundle, and what CRIU counted.
struct Image {
    name: &'static str,
    stats: DumpStats,
    /// Bytes of its pages, holes not counted.
    bytes: u64,
}

fn checkpoint(container: &Container<'_>, name: &'static str, flags: &[&str]) -> Output {
    let mut all = vec!["--image-path", name];
    all.extend(flags);
    let command = container.checkpoint_command(Program::Ours, &all);
    command.timeout(DUMPING).output()
}

fn dump(container: &Container<'_>, name: &'static str, flags: &[&str]) -> Image {
    checkpoint(container, name, flags).ok();
    look(container, name)
}

fn look(container: &Container<'_>, name: &'static str) -> Image {
    let node = Node::shared_guest();
    let folder = format!("{}/{name}", container.bundle());
    let stats = node
        .read(format!("{folder}/stats-dump"))
        .expect("CRIU's figures");
    Image {
        name,
        stats: DumpStats::parse(&stats).expect("CRIU's figures"),
        bytes: page_bytes(node, &folder),
    }
}

/// Bytes that the pages in this image take on disk: what was punched out is not among them.
fn page_bytes(node: &Node, folder: &str) -> u64 {
    let script = format!("du --block-size=1 --total {folder}/pages-*.img | tail -n 1 | cut -f 1");
    let output = node.shell(&script).ok();
    output.stdout.trim().parse().expect("a number of bytes")
}

/// Waits until it has published, which is late for a large one.
fn started(container: &Container<'_>) -> (String, u64) {
    let state = container.published_when(STATE, |state| state.number("ticks") > 3);
    (state.text("session").to_owned(), state.number("ticks"))
}

/// Restores it, and asserts that the memory is the one that was seen and is whole.
fn comes_back(container: &mut Container<'_>, image: &str, (session, ticks): &(String, u64)) {
    let image = format!("{}/{image}", container.bundle());
    let output = container.restore(&image, &[]);
    let log = Node::shared_guest().shell(&format!("grep Error {image}/restore.log || true"));
    assert!(output.succeeded(), "{output:#?}\n{}", log.stdout);
    let first = container.published_when(STATE, |state| state.number("ticks") >= *ticks);
    let rounds = first.number("rounds");
    // A whole pass after the restore has looked at every page.
    let later = container.published_when(STATE, |state| {
        state.number("seq") > first.number("seq") && state.number("rounds") >= rounds + 2
    });
    assert_eq!(later.text("session"), session, "it is another process");
    assert!(later.number("ticks") > *ticks, "it went back in time");
    assert_eq!(later.number("corrupt"), 0, "{later:?}");
}

fn print(image: &Image) {
    eprintln!(
        "{:<8} pages scanned {:>6}, skipped thanks to the parent {:>6}, written {:>6}; {:>9} bytes of pages",
        image.name,
        image.stats.pages_scanned,
        image.stats.pages_skipped_parent,
        image.stats.pages_written,
        image.bytes,
    );
}

#[test]
#[ignore = "needs the node root: run make test"]
fn two_pre_dumps_leave_a_third_at_most_to_the_final_dump() {
    let turn = crate::guest();
    let node = *turn;
    let mut container = Shape::new(node, "precopy")
        .workload(&[
            "dirty",
            "--mib",
            "256",
            "--percent",
            "5",
            "--tick-ms",
            "100",
        ])
        .start();
    let before = started(&container);
    let plain = dump(&container, "plain", &["--leave-running"]);
    let first = dump(&container, "first", &["--pre-dump"]);
    print(&plain);
    print(&first);
    // A machine that is busy stretches the five seconds, in which the process goes on writing: then once more.
    let mut parent = first.name;
    for (second, last, once_more) in [
        ("second", "last", true),
        ("second-b", "last-b", true),
        ("second-c", "last-c", false),
    ] {
        let (share, seconds) = last_step(&container, parent, second, last, &plain);
        parent = last;
        if share <= SHARE {
            break;
        }
        assert!(
            once_more && seconds > 6.5,
            "{share:.3} after {seconds:.1} s"
        );
    }
    comes_back(&mut container, parent, &before);
    shown(Runtime::Runc, &["pre-dump", "parent-path"]);
}

/// The second pre-dump, and the final dump when the process has gone on for five seconds: how much it writes beside a plain one, the more
/// of pages and bytes, and how long it really was.
fn last_step(
    container: &Container<'_>,
    first: &str,
    second: &'static str,
    last: &'static str,
    plain: &Image,
) -> (f64, f64) {
    let from = container.published(STATE);
    let upon = format!("../{first}");
    let second = dump(container, second, &["--pre-dump", "--parent-path", &upon]);
    // Asked seldom: to answer takes time that is the process's.
    std::thread::sleep(Duration::from_secs(4));
    let ticks = from.number("ticks") + 50;
    let _ = container.published_when(STATE, |state| state.number("ticks") >= ticks);
    let upon = format!("../{}", second.name);
    let last = dump(
        container,
        last,
        &["--leave-running", "--parent-path", &upon],
    );
    let dumped = container.published(STATE);
    print(&second);
    print(&last);
    assert!(plain.stats.pages_written > 65_536, "{:?}", plain.stats);
    assert!(last.stats.pages_skipped_parent > 30_000, "{:?}", last.stats);
    assert!(last.stats.pages_written > 65_536 / 5, "{:?}", last.stats);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = |last: u64, plain: u64| last as f64 / plain as f64;
    let pages = share(last.stats.pages_written, plain.stats.pages_written);
    let bytes = share(last.bytes, plain.bytes);
    let seconds = share(dumped.number("ticks") - from.number("ticks"), 10);
    let changed = dumped.number("written") - from.number("written");
    eprintln!(
        "the final dump beside a plain one: {pages:.3} of the pages, {bytes:.3} of the bytes; {changed} pages were written in {seconds:.1} s"
    );
    (pages.max(bytes), seconds)
}

/// Notes that containers of this runtime came back from images that were made with these options.
fn shown(runtime: Runtime, options: &[&str]) {
    let place = Place::of(Node::shared_guest(), runtime);
    for option in options {
        record(option, &place, How::Command, Outcome::Restored);
    }
}

/// A chain, deduplicated while it grows: what a later image holds goes from its parents, and everything is still there.
fn a_chain_with_dedup_restores(runtime: Runtime) {
    let turn = crate::guest();
    let node = *turn;
    let name = format!("dedup-{runtime}");
    let mut container = Shape::new(node, &name)
        .runtime(runtime)
        .workload(&[
            "dirty",
            "--mib",
            "12",
            "--percent",
            "10",
            "--tick-ms",
            "100",
        ])
        .start();
    let before = started(&container);
    dump(&container, "first", &["--pre-dump"]);
    let first = look(&container, "first");
    let _ = container.published_when(STATE, |state| state.number("ticks") > before.1 + 20);
    let second = dump(
        &container,
        "second",
        &["--pre-dump", "--parent-path", "../first", "--auto-dedup"],
    );
    let punched = look(&container, "first");
    let _ = container.published_when(STATE, |state| state.number("rounds") > 3);
    let last = dump(
        &container,
        "last",
        &["--parent-path", "../second", "--auto-dedup"],
    );
    let thinned = look(&container, "second");
    for image in [&first, &second, &last] {
        print(image);
    }
    eprintln!(
        "{runtime}: holes of {} and {} bytes",
        first.bytes - punched.bytes,
        second.bytes - thinned.bytes
    );
    assert!(second.stats.pages_skipped_parent > 0, "{:?}", second.stats);
    assert!(
        punched.bytes < first.bytes,
        "nothing was punched out of the first image"
    );
    assert!(
        thinned.bytes < second.bytes,
        "nothing was punched out of the second image"
    );
    comes_back(&mut container, "last", &before);
    // The same directory restores as it stands, as often as one likes.
    comes_back(&mut container, "last", &before);
    shown(runtime, &["pre-dump", "parent-path", "auto-dedup"]);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_chain_with_dedup_restores_under_runc() {
    a_chain_with_dedup_restores(Runtime::Runc);
}

#[test]
#[ignore = "needs the node root: run make test"]
fn a_chain_with_dedup_restores_under_crun() {
    a_chain_with_dedup_restores(Runtime::Crun);
}

/// The options are not for nothing: without a parent every page is written again, and without tracking an image is no parent.
#[test]
#[ignore = "needs the node root: run make test"]
fn without_a_parent_every_page_is_written_again() {
    let turn = crate::guest();
    let node = *turn;
    let container = Shape::new(node, "alone")
        .workload(&["dirty", "--mib", "16", "--percent", "1", "--tick-ms", "100"])
        .start();
    let _ = started(&container);
    let first = dump(&container, "first", &["--pre-dump"]);
    let again = dump(&container, "again", &["--pre-dump"]);
    let upon = dump(
        &container,
        "upon",
        &["--pre-dump", "--parent-path", "../again"],
    );
    for image in [&first, &again, &upon] {
        print(image);
    }
    assert!(again.stats.pages_written >= 4096, "{:?}", again.stats);
    assert_eq!(again.stats.pages_skipped_parent, 0);
    assert!(
        upon.stats.pages_written < again.stats.pages_written / 4,
        "{:?}",
        upon.stats
    );
    assert!(upon.stats.pages_skipped_parent > 2048, "{:?}", upon.stats);
    assert!(container.is_running());
}

/// Why the agent takes the latest tracked image alone for a parent: the command takes any, as runc does, and then old memory comes back.
#[test]
#[ignore = "needs the node root: run make test"]
fn upon_another_image_than_the_latest_old_memory_comes_back() {
    let turn = crate::guest();
    let node = *turn;
    // A page that is written again before the last dump is not old, and it takes a hundred seconds to come round to the same one. What
    // counts how often a page was written is written with the next ones, so that it is not as old.
    let slowly = [
        "dirty",
        "--mib",
        "12",
        "--percent",
        "1",
        "--tick-ms",
        "1000",
    ];
    let mut container = Shape::new(node, "stale").workload(&slowly).start();
    let before = started(&container);
    let go_on = || {
        let ticks = container.published(STATE).number("ticks") + 2;
        let _ = container.published_when(STATE, |state| state.number("ticks") >= ticks);
    };
    print(&dump(&container, "first", &["--pre-dump"]));
    go_on();
    print(&dump(&container, "second", &["--pre-dump"]));
    go_on();
    print(&dump(&container, "last", &["--parent-path", "../first"]));
    let image = format!("{}/last", container.bundle());
    let restored = container.restore(&image, &[]);
    assert!(restored.succeeded(), "{restored:#?}");
    let found = container.published_when(STATE, |state| state.number("corrupt") > 0);
    assert_eq!(found.text("session"), before.0);
    eprintln!(
        "upon an image that is not the latest: {} pages of old memory",
        found.number("corrupt")
    );
}
