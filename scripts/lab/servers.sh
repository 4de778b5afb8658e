# shellcheck shell=bash
# All servers of the lab together, with their data in one temporary folder. Sourced after common.sh.
#
#   lab_up      starts them without waiting
#   lab_ready   waits for them and exports their addresses
#   lab_down    stops them and removes the folder; made to be called from an EXIT trap

# shellcheck source=scripts/lab/s3.sh
source "$LAB_ROOT/scripts/lab/s3.sh"
# shellcheck source=scripts/lab/nats.sh
source "$LAB_ROOT/scripts/lab/nats.sh"
# shellcheck source=scripts/lab/kafka.sh
source "$LAB_ROOT/scripts/lab/kafka.sh"
# shellcheck source=scripts/lab/smtp.sh
source "$LAB_ROOT/scripts/lab/smtp.sh"
# shellcheck source=scripts/lab/prometheus.sh
source "$LAB_ROOT/scripts/lab/prometheus.sh"
# shellcheck source=scripts/lab/consul.sh
source "$LAB_ROOT/scripts/lab/consul.sh"
# shellcheck source=scripts/lab/postgres.sh
source "$LAB_ROOT/scripts/lab/postgres.sh"
# shellcheck source=scripts/lab/nginx.sh
source "$LAB_ROOT/scripts/lab/nginx.sh"
# shellcheck source=scripts/lab/caddy.sh
source "$LAB_ROOT/scripts/lab/caddy.sh"
# shellcheck source=scripts/lab/ssh.sh
source "$LAB_ROOT/scripts/lab/ssh.sh"
# shellcheck source=scripts/lab/ssh_netns.sh
source "$LAB_ROOT/scripts/lab/ssh_netns.sh"
# shellcheck source=scripts/lab/ssh_systemd.sh
source "$LAB_ROOT/scripts/lab/ssh_systemd.sh"
# shellcheck source=scripts/lab/api.sh
source "$LAB_ROOT/scripts/lab/api.sh"

LAB_TMP=

lab_up() {
    LAB_TMP=$(mktemp -d "${TMPDIR:-/tmp}/vice-lab.XXXXXX")
    lab_s3_start "$LAB_TMP/s3"
    lab_nats_start "$LAB_TMP/nats"
    lab_kafka_start "$LAB_TMP/kafka"
    lab_smtp_start "$LAB_TMP/smtp"
    lab_prometheus_start "$LAB_TMP/prometheus"
    lab_consul_start "$LAB_TMP/consul"
    lab_postgres_start "$LAB_TMP/postgres"
    lab_nginx_start "$LAB_TMP/nginx"
    lab_caddy_start "$LAB_TMP/caddy"
    lab_ssh_start "$LAB_TMP/ssh"
    lab_netns_start "$LAB_TMP/netns"
    lab_systemd_start "$LAB_TMP/systemd"
}

lab_ready() {
    lab_nats_ready
    lab_kafka_ready
    lab_smtp_ready
    lab_prometheus_ready
    lab_consul_ready
    lab_postgres_ready
    lab_nginx_ready
    lab_caddy_ready
    lab_ssh_ready
    lab_netns_ready
    lab_systemd_ready
    # It makes its tables when it starts.
    lab_api_start "$LAB_TMP/api"
    lab_api_ready
    lab_s3_ready
    export VICE_LAB_CHROMIUM VICE_LAB_KUBECTL VICE_LAB_ANSIBLE=$LAB_VENV/bin
    VICE_LAB_CHROMIUM=$(command -v chromium)
    VICE_LAB_KUBECTL=$(command -v kubectl)
}

lab_down() {
    lab_s3_stop
    lab_nats_stop
    lab_kafka_stop
    lab_smtp_stop
    lab_prometheus_stop
    lab_consul_stop
    lab_api_stop
    lab_postgres_stop
    lab_nginx_stop
    lab_caddy_stop
    lab_ssh_stop
    lab_netns_stop
    lab_systemd_stop
    [[ -z $LAB_TMP ]] || rm -rf "$LAB_TMP"
    LAB_TMP=
}
