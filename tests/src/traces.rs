//! What a checkpoint could leave behind in a node, listed so that a test can compare before and after.

use std::collections::BTreeSet;

use crate::node::Node;

/// Lists, one per line, whatever a dump makes for a while. Arguments: pids whose network namespaces count, `--`, folders.
const LIST: &str = r#"
while [ "${1:-}" != -- ]; do
    in_its_net="nsenter --net=/proc/$1/ns/net"
    for family in iptables-save ip6tables-save; do
        $in_its_net $family 2>/dev/null | grep -E '^(-A|:CRIU)' | sed "s/ \[[0-9:]*\]$//; s/^/rule in the network of $1: $family /" || true
    done
    $in_its_net nft list ruleset 2>/dev/null | grep -E '^table .*CRIU|CRIU' | sed "s/counter packets [0-9]* bytes [0-9]* //; s/^/rule in the network of $1: nft /" || true
    shift
done
shift
find /sys/fs/cgroup -mindepth 2 -type d -printf 'cgroup %p\n'
find /sys/fs/cgroup -name freezer.state -exec grep -l -v THAWED {} + 2>/dev/null | sed 's/^/not thawed: /' || true
find /sys/fs/cgroup -name cgroup.freeze -exec grep -l 1 {} + 2>/dev/null | sed 's/^/not thawed: /' || true
[ $# = 0 ] || find "$@" \( -name 'link_remap.*' -o -name '*.partial' -o -name '*.cr.*.ghost' \) -printf 'file %p\n'
find /run -path /run/rig -prune -o \( -name '*.partial' -o -path '*/journal/*' \) -printf 'file %p\n'
for stat in /proc/[0-9]*/stat; do
    read -r line <"$stat" 2>/dev/null || continue
    pid=${line%% *} rest=${line##*) } name=${line#*(}
    name=${name%)*}
    while read -r key value; do
        [ "$key" != TracerPid: ] || [ "$value" = 0 ] || echo "traced: process $pid ($name)"
    done <"/proc/$pid/status" 2>/dev/null
    case ${rest%% *} in
        T | t) echo "stopped: process $pid ($name)" ;;
        Z) echo "zombie: process $pid ($name)" ;;
        *) case $name in criu | tar | gzip | stillframe*) echo "running: process $pid ($name)" ;; esac ;;
    esac
done
"#;

/// Everything in a node that a dump makes for a while and must take away again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// Looks at a node: rules of the network namespaces of these processes (pids of the node), cgroups and whether they are frozen,
    /// stopped processes, zombies, processes of CRIU's or ours, and files such as `link_remap.N` or `NAME.partial` below these
    /// folders of the node.
    #[must_use]
    pub fn of(node: &Node, pids: &[i32], folders: &[&str]) -> Self {
        let pids = pids.iter().map(ToString::to_string);
        let output = node
            .command("bash")
            .args(["-uc", LIST, "traces"])
            .args(pids)
            .arg("--")
            .args(folders)
            .output()
            .ok();
        Self(output.stdout.lines().map(str::to_owned).collect())
    }

    /// Each trace, as a line for people.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What is here and was not there before, as lines for people.
    #[must_use]
    pub fn beyond<'a>(&'a self, before: &'a Self) -> Vec<&'a str> {
        self.0.difference(&before.0).map(String::as_str).collect()
    }

    /// Whether one of the lines holds this text.
    #[must_use]
    pub fn mention(&self, text: &str) -> bool {
        self.0.iter().any(|line| line.contains(text))
    }
}
