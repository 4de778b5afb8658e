# shellcheck shell=bash
# A PostgreSQL with fsync on, as every history needs it. Sourced after common.sh.
#
#   lab_postgres_start DIR   makes a cluster and starts it, and returns at once
#   lab_postgres_ready       waits, exports VICE_LAB_POSTGRES: a URL of the superuser vice
#   lab_postgres_stop
#
# The user vice comes in without a password over 127.0.0.1; everybody else needs one (SCRAM). PostgreSQL refuses to run
# as root, so root starts it as nobody.

LAB_POSTGRES_PID=
LAB_POSTGRES_DIR=
LAB_POSTGRES_PORT=

# The folder of the newest server that Debian has installed; initdb and postgres are not on the path there.
lab_postgres_bin() {
    local bin
    # shellcheck disable=SC2012 # Names of versions hold nothing that ls could spoil.
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    [[ -n $bin ]] && echo "$bin" && return
    lab_have initdb && dirname "$(readlink -f "$(command -v initdb)")"
}

lab_postgres_install() {
    [[ -n $(lab_postgres_bin) ]] || lab_apt pg_ctlcluster postgresql
}

lab_postgres_as() {
    if [[ $(id -u) == 0 ]]; then
        setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
    else
        "$@"
    fi
}

lab_postgres_start() {
    local dir=$1 bin port
    bin=$(lab_postgres_bin)
    port=$(lab_ports 1)
    mkdir -p "$dir/data"
    [[ $(id -u) != 0 ]] || chown -R 65534:65534 "$dir"
    chmod 700 "$dir/data"
    # The folder above may be for its owner only; nobody has to pass through it.
    chmod a+x "$(dirname "$dir")" "$dir"
    (cd / && lab_postgres_as "$bin/initdb" -D "$dir/data" -U vice -A trust -N -E UTF8 --no-locale >"$dir/initdb.log" 2>&1) ||
        { cat "$dir/initdb.log" >&2; lab_die "initdb failed."; }
    printf '%s\n' "host all vice 127.0.0.1/32 trust" "host all all 127.0.0.1/32 scram-sha-256" >"$dir/data/pg_hba.conf"
    (
        cd /
        if [[ $(id -u) == 0 ]]; then
            exec setpriv --reuid=65534 --regid=65534 --clear-groups --pdeathsig KILL "$bin/postgres" -D "$dir/data" \
                -p "$port" -c unix_socket_directories= -c listen_addresses=127.0.0.1 -c shared_buffers=64MB \
                -c max_connections=60 </dev/null
        fi
        lab_leashed "$bin/postgres" -D "$dir/data" -p "$port" -c unix_socket_directories= \
            -c listen_addresses=127.0.0.1 -c shared_buffers=64MB -c max_connections=60 </dev/null
    ) >"$dir/postgres.log" 2>&1 &
    LAB_POSTGRES_PID=$!
    LAB_POSTGRES_DIR=$dir
    LAB_POSTGRES_PORT=$port
}

lab_postgres_ready() {
    local bin
    bin=$(lab_postgres_bin)
    if ! lab_wait 60 "$LAB_POSTGRES_PID" "$bin/pg_isready" -q -h 127.0.0.1 -p "$LAB_POSTGRES_PORT" -U vice; then
        tail -n 20 "$LAB_POSTGRES_DIR/postgres.log" >&2
        lab_die "PostgreSQL did not become ready within 60 s."
    fi
    export VICE_LAB_POSTGRES="postgres://vice@127.0.0.1:$LAB_POSTGRES_PORT/postgres"
}

lab_postgres_stop() {
    [[ -n $LAB_POSTGRES_PID ]] || return 0
    # Its data is thrown away.
    kill -INT "$LAB_POSTGRES_PID" 2>/dev/null || true
    wait "$LAB_POSTGRES_PID" 2>/dev/null || true
    LAB_POSTGRES_PID=
}
