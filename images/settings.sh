# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by those who source it
# What the images are made of. Sourced by the scripts beside it.

IMAGES_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
IMAGES=(stillframe-operator stillframe-node-agent)
IMAGES_REPOSITORY=docker.io/stillframe # the name under which containerd files an archive that it imports
IMAGES_OPERATOR_MIB=30                 # what the operator's archive may take at most
IMAGES_USER=65532                      # who the operator runs as

# Every file of a layer gets this time, so that a layer's digest follows from what it holds and from nothing else.
IMAGES_MTIME=0

# In every image: what our programs are linked with, and which Debian this is.
IMAGES_LIBRARIES=(libc.so.6 libgcc_s.so.1 libm.so.6)
IMAGES_FILES=(usr/lib/os-release usr/share/common-licenses)

# In the agent's image: CRIU, the tools that it and the agent start, and what those load by name.
IMAGES_AGENT_FILES=(usr/sbin/criu usr/sbin/nft usr/sbin/xtables-nft-multi usr/bin/tar usr/bin/gzip etc/protocols)
IMAGES_AGENT_PLUGINS=("usr/lib/*/xtables/lib"{xt,ipt,ip6t}"_*.so") # the matches and targets of iptables, looked for in the Debian
IMAGES_AGENT_XTABLES=(iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore)

# The crates whose programs go into an image.
declare -A IMAGES_CRATES=(
    [stillframe-operator]="stillframe-operator"
    [stillframe-node-agent]="stillframe-node-agent stillframe-archiver stillframe-sh"
)
# What the images are about, and the licences of the most of what they hold; the files in /usr/share/doc have the rest.
declare -A IMAGES_TITLE=(
    [stillframe-operator]="Stillframe operator"
    [stillframe-node-agent]="Stillframe node agent, with CRIU"
)
declare -A IMAGES_LICENCES=(
    [stillframe-operator]="Apache-2.0 AND LGPL-2.1-or-later AND (GPL-3.0-or-later WITH GCC-exception-3.1)"
    [stillframe-node-agent]="Apache-2.0 AND GPL-2.0-only AND GPL-2.0-or-later AND GPL-3.0-or-later AND LGPL-2.1-or-later AND (GPL-3.0-or-later WITH GCC-exception-3.1)"
)

# say TEXT: progress, on stderr, since stdout carries results.
say() { printf 'image: %s\n' "$*" >&2; }

# die TEXT: explains why there is no image, and ends the script.
die() {
    printf 'image: %s\n' "$*" >&2
    exit 1
}

# of_debian PROGRAM ARGUMENT…: runs a program of the Debian in the folder IMAGES_ROOT on files of this machine. What packs the images is
# that, since two versions of tar write two headers for one file.
of_debian() {
    local libraries=("${IMAGES_ROOT:?}"/usr/lib/*-linux-gnu) program=$1
    local loader=("${libraries[0]}"/ld-linux-*.so.?)
    shift
    "${loader[0]}" --library-path "${libraries[0]}" "$IMAGES_ROOT/usr/bin/$program" "$@"
}

# archive FOLDER: the folder as a tar on stdout, the same for the same content whoever packs it and whenever.
archive() {
    of_debian tar --format=ustar --sort=name --mtime="@$IMAGES_MTIME" --owner=0 --group=0 --numeric-owner --hard-dereference -C "$1" -cf - .
}

# compress: a layer from stdin as it travels, on stdout.
compress() { of_debian gzip -n -9; }
