# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by those who source it
# What the node is made of (go/*/go.mod say which runc and containerd) and where it is kept. Sourced by the scripts beside it.

# Debian testing: the oldest suite whose CRIU (4.2) dumps containers with inet sockets on recent kernels.
RIG_SUITE=forky
RIG_SUITE_SCRIPT=/usr/share/debootstrap/scripts/sid # older debootstraps do not know the suite by its name
RIG_CRIU_AT_LEAST=4.2
RIG_PACKAGES=(
    criu libcriu2 crun busybox-static libseccomp2   # what is tested, and what it needs
    runc                                   # Debian's, in /usr beside the newer one that comes first in the path
    iproute2 iptables nftables kmod        # network namespaces, and CRIU's two lock methods
    procps psmisc jq strace curl           # for the tests, and for people who look around
    lua5.4                                 # what Argo CD's health scripts are written in
    etcd-server containernetworking-plugins openssl   # a cluster's store, its pods' network and its certificates
)
# The virtual machine's kernel: Debian's own, which tracks memory and runs cgroup v2 alone (see vm). Stable: what is in testing changes weekly.
RIG_VM_SUITE=trixie
RIG_VM_KERNEL=linux-image-cloud-amd64
# Where a node's programs are looked for: those of this workspace first, then the rig's tools.
RIG_NODE_PATH=/run/rig/bin:/opt/rig:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

RIG_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export RIG_CACHE=${STILLFRAME_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stillframe}
RIG_RUNS=$RIG_CACHE/runs                # one folder for each node that is up
RIG_CGROUP_PREFIX=stillframe-rig-       # one cgroup, in every hierarchy, for each node that is up

# say TEXT: progress, on stderr, since stdout carries results.
say() { printf 'rig: %s\n' "$*" >&2; }

# die TEXT: explains why the rig cannot go on, and ends the script.
die() {
    printf 'rig: %s\n' "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "must be root: a node needs mount, pid and network namespaces, and CRIU needs ptrace rights"
}

# clean_up_at_exit: nodes end by themselves when what started them does; this script waits for that, however it ends.
clean_up_at_exit() {
    RIG_SESSION=$$-$(start_time $$)
    export RIG_SESSION
    trap '"$RIG_DIR/sweep" --wait || exit 1' EXIT
    trap 'say "interrupted; the node goes, and everything in it"; exit 130' INT
    trap 'say "ended; the node goes, and everything in it"; exit 143' TERM HUP
}

# key TEXT…: a short name for a version of something, from everything that decides what it contains.
key() { printf '%s\n' "$@" | sha256sum | cut -c1-12; }

# start_time PID: the process' start time in clock ticks since boot; with the pid it names a process for ever.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# debian_mirror: the mirror that this machine's own apt uses.
debian_mirror() {
    if [ -n "${STILLFRAME_DEBIAN_MIRROR:-}" ]; then
        echo "$STILLFRAME_DEBIAN_MIRROR"
        return
    fi
    grep -rhoE '^[^#]*https?://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
        grep -oE 'https?://[^ ]+' | grep -E '/debian/?$' | head -n 1
}

# install_missing PACKAGE…: installs those of the Debian packages that are not there yet.
install_missing() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || die "please install what these Debian packages hold: ${missing[*]}"
    say "installing ${missing[*]} with apt"
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$RIG_CACHE/apt.log" 2>&1; then
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >>"$RIG_CACHE/apt.log" 2>&1 ||
            { tail -n 5 "$RIG_CACHE/apt.log" >&2; die "apt could not install ${missing[*]}; all it said is in $RIG_CACHE/apt.log"; }
    fi
}
