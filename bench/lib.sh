# shellcheck shell=bash
# Sourced by bench/<name>/run: what each benchmark needs, so that their figures are made alike.
# bench/README.md has the rules.

# shellcheck source=scripts/lab/common.sh
source "$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/scripts/lab/common.sh"

BENCH_TMP=
BENCH_PIDS=()

bench_cleanup() {
    local pid
    for pid in ${BENCH_PIDS[@]+"${BENCH_PIDS[@]}"}; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [[ -z $BENCH_TMP ]] || rm -rf "$BENCH_TMP"
}

# Makes BENCH_TMP, a temporary folder on disk (not in memory, where a sync costs nothing), and arranges that it and
# every process of bench_spawn are gone when the benchmark ends.
bench_begin() {
    mkdir -p "$LAB_ROOT/target"
    BENCH_TMP=$(mktemp -d "$LAB_ROOT/target/bench.XXXXXX")
    trap bench_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# bench_need COMMAND [PACKAGE]: installs the command from Debian's package where it is missing and that is possible.
bench_need() { lab_apt "$1" "${2:-$1}"; }

# Builds the release binary and prints its path; with BENCH_BIN, a folder, the binary that is there already.
bench_vice() {
    if [[ -n ${BENCH_BIN:-} ]]; then
        printf '%s\n' "$BENCH_BIN/vice"
        return
    fi
    (cd "$LAB_ROOT" && cargo build --quiet --release --locked -p vice-cli >&2)
    printf '%s\n' "${CARGO_TARGET_DIR:-$LAB_ROOT/target}/release/vice"
}

# bench_example PACKAGE NAME: the same for an example of a package.
bench_example() {
    if [[ -n ${BENCH_BIN:-} ]]; then
        printf '%s\n' "$BENCH_BIN/$2"
        return
    fi
    (cd "$LAB_ROOT" && cargo build --quiet --release --locked -p "$1" --example "$2" >&2)
    printf '%s\n' "${CARGO_TARGET_DIR:-$LAB_ROOT/target}/release/examples/$2"
}

# bench_spawn COMMAND...: starts a server in the background; BENCH_PID is its process.
bench_spawn() {
    lab_leashed "$@" >>"$BENCH_TMP/servers.log" 2>&1 </dev/null &
    BENCH_PID=$!
    BENCH_PIDS+=("$BENCH_PID")
}

# bench_children PID: the process and all its descendants.
bench_children() {
    local child
    printf '%s\n' "$1"
    for child in $(pgrep -P "$1" || true); do
        bench_children "$child"
    done
}

# bench_cpu PID...: processor seconds (user and system) that the processes with their living descendants have used.
bench_cpu() {
    local pid pids=() ticks
    for pid in "$@"; do
        mapfile -t -O "${#pids[@]}" pids < <(bench_children "$pid")
    done
    ticks=$(getconf CLK_TCK)
    for pid in "${pids[@]}"; do
        # Fields 14 and 15, counted behind the name, which may itself hold spaces and brackets.
        sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null || true
    done | awk -v ticks="$ticks" '{ used += $12 + $13 } END { printf "%.2f\n", used / ticks }'
}

# bench_rss PID: resident memory in MiB.
bench_rss() { awk '/^VmRSS/ { printf "%.1f\n", $2 / 1024 }' "/proc/$1/status"; }

# bench_wall COMMAND...: runs it and prints its wall time in milliseconds. Its output goes to the log.
bench_wall() {
    local began=${EPOCHREALTIME//[.,]/}
    "$@" >>"$BENCH_TMP/commands.log" 2>&1
    local ended=${EPOCHREALTIME//[.,]/}
    awk -v us=$((ended - began)) 'BEGIN { printf "%.2f\n", us / 1000 }'
}

# Reads one number a line, prints: minimum median maximum.
bench_spread() {
    sort -g | awk '{ v[NR] = $1 } END {
        if (NR == 0) exit 1
        m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
        printf "%g %g %g\n", v[1], m, v[NR] }'
}

# bench_pairs N A B: runs the functions A and B in turn N times after one warm-up of each; each prints one number.
# Prints the spreads of A and of B, and the spread of the ratio A/B taken pair by pair, which holds even where the
# machine's speed drifts during the run.
bench_pairs() {
    local rounds=$1 a=$2 b=$3 i x y as=() bs=() ratios=()
    "$a" >/dev/null
    "$b" >/dev/null
    for ((i = 0; i < rounds; i++)); do
        x=$("$a")
        y=$("$b")
        as+=("$x")
        bs+=("$y")
        ratios+=("$(awk -v x="$x" -v y="$y" 'BEGIN { printf "%.4f\n", x / y }')")
    done
    printf '%-24s %s\n' "$a" "$(printf '%s\n' "${as[@]}" | bench_spread)"
    printf '%-24s %s\n' "$b" "$(printf '%s\n' "${bs[@]}" | bench_spread)"
    printf '%-24s %s\n' "ratio" "$(printf '%s\n' "${ratios[@]}" | bench_spread)"
}

# Says on which machine, with which versions, the figures that follow are made.
bench_header() {
    printf '# %s\n' "$1"
    printf '# date      %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)"
    printf '# commit    %s\n' "$(git -C "$LAB_ROOT" describe --always --dirty 2>/dev/null || echo unknown)"
    printf '# processor %s, %s cores\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
    printf '# kernel    %s, load %s\n' "$(uname -r)" "$(cut -d' ' -f1 /proc/loadavg)"
    printf '# rustc     %s\n' "$(rustc --version | cut -d' ' -f2)"
}
