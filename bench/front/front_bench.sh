#!/usr/bin/env bash
# Requests per CPU-second of the built-in front end and of nginx, as reverse proxies of the same backend, in one run.
#
#   bench/front/front_bench.sh [SECONDS] [ROUNDS]
#
# Needs nginx, wrk and cargo. Both proxies serve with one worker and keep-alive on both sides; the load is
# `wrk -t 1 -c 64`, in turn (nginx, front, nginx, front, ...). CPU time is utime + stime of the proxy's processes.
# Prints one line a run and the ratio front/nginx of the sums; exits 1 when it is below 0.5.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-8} rounds=${2:-3}
dir=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

# FRONT_BIN measures a binary that is already there.
front_bin=${FRONT_BIN:-}
if [[ -z $front_bin ]]; then
    cargo build --quiet --release -p vice-pride --example front
    front_bin=${CARGO_TARGET_DIR:-target}/release/examples/front
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
backend=$(free_port) nginx=$(free_port) front=$(free_port)

common="worker_processes 1; daemon off; error_log stderr crit; events { worker_connections 4096; }"
http="access_log off; client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f;
    uwsgi_temp_path $dir/u; scgi_temp_path $dir/s; keepalive_requests 100000000; tcp_nodelay on;"
cat >"$dir/backend.conf" <<CONF
pid $dir/backend.pid; $common
http { $http server { listen 127.0.0.1:$backend backlog=1024; location / { return 200 "Hello from the backend.\n"; } } }
CONF
cat >"$dir/nginx.conf" <<CONF
pid $dir/nginx.pid; $common
http { $http
    upstream app { server 127.0.0.1:$backend; keepalive 64; keepalive_requests 100000000; }
    server { listen 127.0.0.1:$nginx backlog=1024; location / {
        proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$http_host;
        proxy_set_header X-Forwarded-For \$remote_addr; proxy_set_header X-Forwarded-Proto \$scheme;
        proxy_set_header X-Forwarded-Host \$http_host; } } }
CONF
nginx -p "$dir" -c "$dir/backend.conf" & pids+=($!)
nginx -p "$dir" -c "$dir/nginx.conf" & nginx_pid=$!; pids+=("$nginx_pid")
"$front_bin" --listen "127.0.0.1:$front" --upstream "127.0.0.1:$backend" >/dev/null & front_pid=$!; pids+=("$front_pid")
for port in "$backend" "$nginx" "$front"; do
    curl --silent --fail --retry 50 --retry-delay 1 --retry-connrefused -o /dev/null "http://127.0.0.1:$port/"
done

hertz=$(getconf CLK_TCK)
# Clock ticks of a process and its children.
ticks() {
    local pid total=0
    for pid in "$1" $(pgrep -P "$1" || true); do
        total=$((total + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')))
    done
    echo "$total"
}
declare -A requests cpu
drive() { # name pid port
    local before after count errors out
    before=$(ticks "$2")
    out=$(wrk -t 1 -c 64 -d "${seconds}s" "http://127.0.0.1:$3/")
    after=$(ticks "$2")
    count=$(awk '/requests in/ { print $1 }' <<<"$out")
    errors=$(grep -E 'Socket errors|Non-2xx' <<<"$out" || true)
    requests[$1]=$((${requests[$1]:-0} + count)) cpu[$1]=$((${cpu[$1]:-0} + after - before))
    awk -v n="$1" -v c="$count" -v t=$((after - before)) -v h="$hertz" -v s="$seconds" -v e="$errors" \
        'BEGIN { printf "%-6s %8d requests %7.0f/s %6.2f CPU s %8.0f per CPU s %s\n", n, c, c / s, t / h, c * h / t, e }'
}
wrk -t 1 -c 64 -d 1s "http://127.0.0.1:$nginx/" >/dev/null
wrk -t 1 -c 64 -d 1s "http://127.0.0.1:$front/" >/dev/null
for ((round = 0; round < rounds; round++)); do
    drive nginx "$nginx_pid" "$nginx"
    drive front "$front_pid" "$front"
done
awk -v fr="${requests[front]}" -v fc="${cpu[front]}" -v nr="${requests[nginx]}" -v nc="${cpu[nginx]}" \
    'BEGIN { ratio = (fr / fc) / (nr / nc); printf "ratio front/nginx, requests per CPU-second: %.2f\n", ratio; exit ratio < 0.5 }'
