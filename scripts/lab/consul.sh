# shellcheck shell=bash
# A Consul agent that keeps everything in memory. Debian dropped it after bullseye, so its package is fetched from that
# suite with an apt state of its own and only unpacked, beside the other downloads. Sourced after common.sh.
#
#   lab_consul_install      fetches and unpacks it where it is missing
#   lab_consul_start DIR    starts it and returns at once
#   lab_consul_ready        waits for a leader, exports VICE_LAB_CONSUL (URL)
#   lab_consul_stop

# With the suffix of whichever rebuild the suite has.
LAB_CONSUL_PACKAGE="consul=1.8.7+dfsg1-2*"
LAB_CONSUL_PID=
LAB_CONSUL_ABSENT=0

lab_consul_binary() { printf '%s\n' "$LAB_CACHE/consul/usr/bin/consul"; }

# The archive that this machine installs from, as it has the older suite too.
lab_debian_archive() {
    # shellcheck disable=SC2016 # apt fills in $(REPO_URI)
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$'
}

# Debian will drop the suite some day. The tests of Consul (lab_consul_*) are then left out, and every run says so.
lab_consul_install() {
    local binary
    binary=$(lab_consul_binary)
    [[ -x $binary ]] && return
    [[ $LAB_MAY_INSTALL == 1 ]] ||
        lab_die "Consul is missing. scripts/lab/run true fetches $LAB_CONSUL_PACKAGE from Debian 11 into $LAB_CACHE."
    lab_say "fetching $LAB_CONSUL_PACKAGE from Debian 11"
    lab_consul_fetch || LAB_CONSUL_ABSENT=1
}

lab_consul_fetch() {
    local suite=$LAB_CACHE/bullseye archive options
    archive=$(lab_debian_archive) || return
    mkdir -p "$suite"/{lists/partial,archives/partial} "$LAB_CACHE/consul"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive bullseye main" >"$suite/sources.list"
    options=(-o "Dir::State::Lists=$suite/lists" -o "Dir::Cache=$suite" -o "Dir::Etc::SourceList=$suite/sources.list"
        -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root)
    apt-get -qq "${options[@]}" update >&2 || return
    (cd "$suite" && apt-get -qq "${options[@]}" download "$LAB_CONSUL_PACKAGE" >&2) || return
    dpkg -x "$suite"/consul_*.deb "$LAB_CACHE/consul" || return
    [[ -x $(lab_consul_binary) ]]
}

lab_consul_start() {
    local dir=$1 p
    [[ $LAB_CONSUL_ABSENT == 0 ]] || return 0
    mkdir -p "$dir"
    read -r -a p <<<"$(lab_ports 4)"
    lab_leashed "$(lab_consul_binary)" agent -dev -bind 127.0.0.1 -client 127.0.0.1 -http-port "${p[0]}" -dns-port -1 \
        -grpc-port -1 -server-port "${p[1]}" -serf-lan-port "${p[2]}" -serf-wan-port "${p[3]}" \
        >"$dir/consul.log" 2>&1 </dev/null &
    LAB_CONSUL_PID=$!
    LAB_CONSUL_DIR=$dir
    LAB_CONSUL_URL=http://127.0.0.1:${p[0]}
}

# An address in quotes: the answer is "" until there is a leader.
lab_consul_leads() { curl -sf "$LAB_CONSUL_URL/v1/status/leader" | grep -q :; }

lab_consul_ready() {
    if [[ $LAB_CONSUL_ABSENT == 1 ]]; then
        lab_say "Debian has no Consul any more: the tests of it (lab_consul_*) are LEFT OUT of this run."
        return
    fi
    if ! lab_wait 60 "$LAB_CONSUL_PID" lab_consul_leads; then
        tail -n 20 "$LAB_CONSUL_DIR/consul.log" >&2
        lab_die "The Consul agent had no leader within 60 s."
    fi
    export VICE_LAB_CONSUL=$LAB_CONSUL_URL
}

lab_consul_stop() {
    [[ -n $LAB_CONSUL_PID ]] || return 0
    kill -KILL "$LAB_CONSUL_PID" 2>/dev/null || true
    wait "$LAB_CONSUL_PID" 2>/dev/null || true
    LAB_CONSUL_PID=
}
