# shellcheck shell=bash
# A NATS server with JetStream that syncs before it acknowledges, as a history needs it. Sourced after common.sh.
#
#   lab_nats_start DIR   starts it and returns at once
#   lab_nats_ready       waits, exports VICE_LAB_NATS (nats://host:port) and VICE_LAB_NATS_MONITOR (URL)
#   lab_nats_stop

LAB_NATS_PID=

lab_nats_start() {
    local dir=$1 p
    mkdir -p "$dir"
    read -r -a p <<<"$(lab_ports 2)"
    cat >"$dir/nats.conf" <<CONF
host: 127.0.0.1
port: ${p[0]}
http: 127.0.0.1:${p[1]}
jetstream { store_dir: "$dir/data", sync_interval: always }
CONF
    lab_leashed "$LAB_VENV/bin/nats-server" -c "$dir/nats.conf" >"$dir/nats.log" 2>&1 </dev/null &
    LAB_NATS_PID=$!
    LAB_NATS_DIR=$dir
    LAB_NATS_URL=nats://127.0.0.1:${p[0]}
    LAB_NATS_MONITOR=http://127.0.0.1:${p[1]}
}

lab_nats_ready() {
    if ! lab_wait 20 "$LAB_NATS_PID" curl -fsS -o /dev/null "$LAB_NATS_MONITOR/healthz"; then
        tail -n 20 "$LAB_NATS_DIR/nats.log" >&2
        lab_die "The NATS server did not become ready within 20 s."
    fi
    export VICE_LAB_NATS=$LAB_NATS_URL
    export VICE_LAB_NATS_MONITOR=$LAB_NATS_MONITOR
    # For tests that start one of their own and stop it again.
    export VICE_LAB_NATS_SERVER=$LAB_VENV/bin/nats-server
}

lab_nats_stop() {
    [[ -n $LAB_NATS_PID ]] || return 0
    kill -KILL "$LAB_NATS_PID" 2>/dev/null || true
    wait "$LAB_NATS_PID" 2>/dev/null || true
    LAB_NATS_PID=
}
