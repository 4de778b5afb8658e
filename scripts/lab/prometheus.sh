# shellcheck shell=bash
# Two servers with the same query API: a Prometheus that scrapes what tests write into its folder, and a VictoriaMetrics
# that takes points of any time. Sourced after common.sh.
#
#   lab_prometheus_start DIR   starts both and returns at once
#   lab_prometheus_ready       waits, exports VICE_LAB_PROMETHEUS, VICE_LAB_PROMETHEUS_DIR and VICE_LAB_VICTORIA
#   lab_prometheus_stop
#
# A test makes the Prometheus scrape by writing NAME.json into VICE_LAB_PROMETHEUS_DIR, as file_sd has it; it is read
# within a second. Scrapes come every 500 ms.

LAB_PROMETHEUS_PID=
LAB_VICTORIA_PID=

lab_prometheus_start() {
    local dir=$1 p
    mkdir -p "$dir/targets" "$dir/data" "$dir/victoria"
    read -r -a p <<<"$(lab_ports 2)"
    cat >"$dir/prometheus.yml" <<YAML
global: { scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 10s }
scrape_configs:
  - job_name: lab
    file_sd_configs: [{ files: ["$dir/targets/*.json"], refresh_interval: 1s }]
YAML
    lab_leashed prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" \
        --web.listen-address="127.0.0.1:${p[0]}" --web.enable-lifecycle --log.level=warn \
        >"$dir/prometheus.log" 2>&1 </dev/null &
    LAB_PROMETHEUS_PID=$!
    lab_leashed victoria-metrics -storageDataPath="$dir/victoria" -httpListenAddr="127.0.0.1:${p[1]}" \
        -retentionPeriod=1 -search.latencyOffset=0s -loggerLevel=WARN >"$dir/victoria.log" 2>&1 </dev/null &
    LAB_VICTORIA_PID=$!
    LAB_PROMETHEUS_DIR=$dir
    LAB_PROMETHEUS_URL=http://127.0.0.1:${p[0]}
    LAB_VICTORIA_URL=http://127.0.0.1:${p[1]}
}

lab_prometheus_ready() {
    if ! lab_wait 60 "$LAB_PROMETHEUS_PID" curl -sf -o /dev/null "$LAB_PROMETHEUS_URL/-/ready"; then
        tail -n 20 "$LAB_PROMETHEUS_DIR/prometheus.log" >&2
        lab_die "The Prometheus did not become ready within 60 s."
    fi
    if ! lab_wait 60 "$LAB_VICTORIA_PID" curl -sf -o /dev/null "$LAB_VICTORIA_URL/health"; then
        tail -n 20 "$LAB_PROMETHEUS_DIR/victoria.log" >&2
        lab_die "The VictoriaMetrics did not become ready within 60 s."
    fi
    export VICE_LAB_PROMETHEUS=$LAB_PROMETHEUS_URL
    export VICE_LAB_PROMETHEUS_DIR=$LAB_PROMETHEUS_DIR/targets
    export VICE_LAB_VICTORIA=$LAB_VICTORIA_URL
}

lab_prometheus_stop() {
    local pid
    for pid in $LAB_PROMETHEUS_PID $LAB_VICTORIA_PID; do
        # Their data is thrown away.
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    LAB_PROMETHEUS_PID=
    LAB_VICTORIA_PID=
}
