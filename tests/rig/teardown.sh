# shellcheck shell=bash
# Removing one node's traces from the machine. Sourced by `enter` and `sweep`, after settings.sh.

# node_cgroups RUN-ID: the cgroup folders of a node, innermost first.
node_cgroups() {
    local mountpoint type
    while read -r _ mountpoint type _; do
        case $type in cgroup | cgroup2) ;; *) continue ;; esac
        [ -d "$mountpoint/$RIG_CGROUP_PREFIX$1" ] && find "$mountpoint/$RIG_CGROUP_PREFIX$1" -depth -type d
    done </proc/mounts
}

# tear_down_run RUN-ID: ends what is left of a node, thawing it first since a frozen process cannot die, and removes its
# cgroups and its folder. All its mounts and its network namespace go with its processes.
tear_down_run() {
    local run_id=$1 attempt folder pid
    for attempt in $(seq 100); do
        local folders=()
        mapfile -t folders < <(node_cgroups "$run_id")
        [ ${#folders[@]} -gt 0 ] || break
        for folder in "${folders[@]}"; do
            [ ! -e "$folder/freezer.state" ] || echo THAWED >"$folder/freezer.state"
            [ ! -e "$folder/cgroup.freeze" ] || echo 0 >"$folder/cgroup.freeze"
            while read -r pid; do
                kill -KILL "$pid"
            done <"$folder/cgroup.procs"
        done 2>/dev/null
        for folder in "${folders[@]}"; do rmdir "$folder"; done 2>/dev/null
        [ "$attempt" = 1 ] || sleep 0.05
    done
    if [ -n "$(node_cgroups "$run_id")" ]; then
        say "could not remove every cgroup of node $run_id:"
        node_cgroups "$run_id" >&2
    fi
    # The name of its session goes last: until then a sweep of that session waits for this.
    rm -rf --one-file-system "${RIG_RUNS:?}/$run_id/scratch" "${RIG_RUNS:?}/$run_id"
}
