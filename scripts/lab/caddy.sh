# shellcheck shell=bash
# A Caddy with the same kind of site as the nginx of the lab. Sourced after common.sh.
#
#   lab_caddy_start DIR   starts it and returns at once
#   lab_caddy_ready       waits, exports VICE_LAB_CADDY (the program), VICE_LAB_CADDY_URL (HTTP/1.1, and HTTP/2 without
#                         TLS) and VICE_LAB_CADDY_LOG (the access log, JSON)
#   lab_caddy_stop

LAB_CADDY_PID=

lab_caddy_start() {
    local dir=$1 port n
    mkdir -p "$dir/site/items"
    port=$(lab_ports 1)
    for n in 1 2 3 4 5 6 7 8 9 10; do
        printf '{"id":%s,"name":"item %s","price":%s.5}\n' "$n" "$n" "$n" >"$dir/site/items/$n"
    done
    printf '<!doctype html><title>Lab</title><p>Hello from the lab.\n' >"$dir/site/index.html"
    cat >"$dir/Caddyfile" <<CONF
{
    admin off
    auto_https off
    storage file_system $dir/storage
    servers {
        protocols h1 h2 h2c
    }
}
http://127.0.0.1:$port {
    root * $dir/site
    log {
        output file $dir/access.log
        format json
    }
    header /items/* Content-Type application/json
    handle /login {
        header Set-Cookie "sid={http.request.uuid}; Path=/; HttpOnly"
        header Content-Type application/json
        respond \`{"user":"ada","token":"{http.request.uuid}","time":"{time.now}"}\` 200
    }
    handle /me {
        header Content-Type application/json
        @anonymous not header_regexp Cookie sid=.+
        respond @anonymous \`{"error":"log in first"}\` 401
        respond \`{"user":"ada","session":"{http.request.cookie.sid}","request":"{http.request.uuid}"}\` 200
    }
    redir /old / 301
    handle /broken {
        respond \`{"error":"broken"}\` 500
    }
    handle {
        encode gzip
        file_server
    }
}
CONF
    HOME=$dir lab_leashed caddy run --config "$dir/Caddyfile" --adapter caddyfile >"$dir/caddy.log" 2>&1 </dev/null &
    LAB_CADDY_PID=$!
    LAB_CADDY_DIR=$dir
    LAB_CADDY_URL=http://127.0.0.1:$port
}

lab_caddy_ready() {
    if ! lab_wait 30 "$LAB_CADDY_PID" curl -sf -o /dev/null "$LAB_CADDY_URL/"; then
        tail -n 20 "$LAB_CADDY_DIR/caddy.log" >&2
        lab_die "The Caddy did not become ready within 30 s."
    fi
    export VICE_LAB_CADDY
    VICE_LAB_CADDY=$(command -v caddy)
    export VICE_LAB_CADDY_URL=$LAB_CADDY_URL
    export VICE_LAB_CADDY_LOG=$LAB_CADDY_DIR/access.log
}

lab_caddy_stop() {
    [[ -n $LAB_CADDY_PID ]] || return 0
    kill -KILL "$LAB_CADDY_PID" 2>/dev/null || true
    wait "$LAB_CADDY_PID" 2>/dev/null || true
    LAB_CADDY_PID=
}
