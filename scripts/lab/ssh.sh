# shellcheck shell=bash
# Hosts to deploy to: several real sshd on loopback addresses of their own, each with a home folder of its own.
# Sourced after common.sh.
#
#   lab_ssh_install        makes sshd available
#   lab_ssh_start DIR [N]  starts N hosts (4 when absent) and returns at once
#   lab_ssh_ready          waits, exports VICE_LAB_SSH
#   lab_ssh_stop
#
# VICE_LAB_SSH is a folder with `config` (for ssh -F; the hosts are h1, h2, …), `known_hosts`, `id`, and `homes/hN`, which
# is what `~` means on host hN. They share this machine: ports are one space, and `$VICE_ADDRESS` tells them apart.

LAB_SSH_PIDS=()

lab_ssh_install() {
    PATH=$PATH:/usr/sbin lab_apt sshd openssh-server
    lab_apt ssh openssh-client
    lab_apt flock util-linux
    if [[ $(id -u) == 0 ]]; then
        PATH=$PATH:/usr/sbin:/sbin lab_apt ip iproute2
        lab_apt systemctl systemd
    fi
    # What deploys to hosts by playbooks.
    lab_apt ansible-playbook ansible-core
    # Supervisors that instances on hosts can be left to.
    lab_apt s6-svscan s6
    lab_apt runsvdir runit
}

# lab_ssh_keys DIR: the client's key, which every host lets in, and the key of all hosts.
lab_ssh_keys() {
    local dir=$1
    ssh-keygen -q -t ed25519 -N '' -C lab -f "$dir/id"
    ssh-keygen -q -t ed25519 -N '' -C lab -f "$dir/hostkey"
    cp "$dir/id.pub" "$dir/authorized_keys"
}

# lab_sshd_config DIR ADDRESS PORT HOME: the configuration of the server of one host.
lab_sshd_config() {
    cat <<CONF
Port $3
ListenAddress $2
HostKey $1/hostkey
PidFile none
AuthorizedKeysFile $1/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 64
SetEnv HOME=$4
PrintMotd no
Subsystem sftp internal-sftp
CONF
}

# lab_ssh_trust DIR: the end of the client's configuration: only this key, only these hosts. Connections are made with
# curve25519: the default of OpenSSH 9 takes each side a quarter of a second of processor time for the keys of one, which is
# what a test or a benchmark on one machine would measure then. LAB_SSH_KEX=default leaves the choice to ssh.
lab_ssh_trust() {
    cat <<CONF
    IdentityFile $1/id
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $1/known_hosts
    GlobalKnownHostsFile none
CONF
    if [[ ${LAB_SSH_KEX:-} != default ]]; then echo '    KexAlgorithms curve25519-sha256'; fi
}

lab_ssh_start() {
    local dir=$1 count=${2:-4} i port
    local sshd
    sshd=$(PATH=$PATH:/usr/sbin command -v sshd)
    mkdir -p "$dir/homes"
    chmod 700 "$dir"
    if [[ $(id -u) == 0 ]]; then mkdir -p /run/sshd; fi
    lab_ssh_keys "$dir"
    port=$(lab_ports 1)
    : >"$dir/config"
    : >"$dir/known_hosts"
    LAB_SSH_PIDS=()
    for ((i = 1; i <= count; i++)); do
        mkdir -p "$dir/homes/h$i"
        lab_sshd_config "$dir" "127.0.1.$i" "$port" "$dir/homes/h$i" >"$dir/sshd_$i.conf"
        cat >>"$dir/config" <<CONF
Host h$i
    HostName 127.0.1.$i
CONF
        echo "[127.0.1.$i]:$port $(cut -d' ' -f1,2 "$dir/hostkey.pub")" >>"$dir/known_hosts"
        lab_leashed "$sshd" -D -f "$dir/sshd_$i.conf" -E "$dir/sshd_$i.log" </dev/null >/dev/null 2>&1 &
        LAB_SSH_PIDS+=($!)
    done
    cat >>"$dir/config" <<CONF
Host *
    Port $port
    User $(id -un)
CONF
    lab_ssh_trust "$dir" >>"$dir/config"
    LAB_SSH_DIR=$dir
    LAB_SSH_COUNT=$count
}

lab_ssh_answers() { ssh -F "$LAB_SSH_DIR/config" -o BatchMode=yes -o ConnectTimeout=2 "$1" true 2>/dev/null; }

lab_ssh_ready() {
    local i
    for ((i = 1; i <= LAB_SSH_COUNT; i++)); do
        if ! lab_wait 30 "${LAB_SSH_PIDS[i - 1]}" lab_ssh_answers "h$i"; then
            tail -n 20 "$LAB_SSH_DIR/sshd_$i.log" >&2
            lab_die "The ssh server of host h$i did not become ready within 30 s."
        fi
    done
    export VICE_LAB_SSH=$LAB_SSH_DIR
}

lab_ssh_stop() {
    local pid
    for pid in ${LAB_SSH_PIDS[@]+"${LAB_SSH_PIDS[@]}"}; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    LAB_SSH_PIDS=()
}
