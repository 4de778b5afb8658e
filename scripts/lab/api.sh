# shellcheck shell=bash
# An API from npm with a real database behind it: Fastify on the PostgreSQL of the lab. Sourced after common.sh.
#
#   lab_api_install
#   lab_api_start DIR    needs VICE_LAB_POSTGRES; starts it and returns at once
#   lab_api_ready        waits, exports VICE_LAB_API: its URL
#   lab_api_stop

LAB_API_PID=
LAB_API_DIR=
LAB_API_URL=

lab_api_install() {
    local stamp=$LAB_CACHE/api/installed
    lab_apt node nodejs
    lab_apt npm npm
    cmp -s "$LAB_ROOT/scripts/lab/api/package.json" "$stamp" && return
    local line="(cd $LAB_CACHE/api && npm install)"
    [[ $LAB_MAY_INSTALL == 1 ]] || lab_die "The packages of the lab's API are missing. Install them with: $line"
    lab_say "installing fastify and pg into $LAB_CACHE/api"
    mkdir -p "$LAB_CACHE/api"
    cp "$LAB_ROOT/scripts/lab/api/package.json" "$LAB_CACHE/api/"
    (cd "$LAB_CACHE/api" && npm install --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
    cp "$LAB_ROOT/scripts/lab/api/package.json" "$stamp"
}

lab_api_start() {
    local dir=$1 port
    mkdir -p "$dir"
    port=$(lab_ports 1)
    # Node looks for packages beside the program.
    cp "$LAB_ROOT/scripts/lab/api/server.mjs" "$LAB_CACHE/api/server.mjs"
    lab_leashed node "$LAB_CACHE/api/server.mjs" "$port" "$VICE_LAB_POSTGRES" >"$dir/api.log" 2>&1 </dev/null &
    LAB_API_PID=$!
    LAB_API_DIR=$dir
    LAB_API_URL=http://127.0.0.1:$port
}

lab_api_ready() {
    if ! lab_wait 60 "$LAB_API_PID" curl -sf -o /dev/null "$LAB_API_URL/healthz"; then
        tail -n 20 "$LAB_API_DIR/api.log" >&2
        lab_die "The API did not become ready within 60 s."
    fi
    export VICE_LAB_API=$LAB_API_URL
}

lab_api_stop() {
    [[ -n $LAB_API_PID ]] || return 0
    kill -KILL "$LAB_API_PID" 2>/dev/null || true
    wait "$LAB_API_PID" 2>/dev/null || true
    LAB_API_PID=
}
