# shellcheck shell=bash
# Hosts that can be cut off and killed: each is a network namespace of its own, with its own address, processes and
# hostname, on a bridge that the machine itself has no route to. Sourced after common.sh and ssh.sh. It needs root.
#
#   lab_netns_start DIR [N]  starts N hosts (3 when absent); sets LAB_NETNS_ABSENT=1 and says why where that is impossible
#   lab_netns_ready          waits, exports VICE_LAB_NETNS
#   lab_netns_stop
#
# VICE_LAB_NETNS is a folder as VICE_LAB_SSH is one, for hosts n1, n2, …; `hub` holds the namespace of the bridge, on which
# the link of host I is `vI`, and `hosts/nI.pid` the process with whose end host nI is dead. In the home of each are `small`,
# a file system of 1 MB, and `readonly`. Keys and configurations are made as in ssh.sh, which is sourced before.

LAB_NETNS_DIR=
LAB_NETNS_ABSENT=0

lab_netns_why_not() {
    [[ $(id -u) == 0 ]] || { echo "it needs root"; return; }
    if ! lab_have ip || ! lab_have unshare; then
        echo "it needs ip (iproute2) and unshare (util-linux)"
        return
    fi
    ip netns add vice-probe-$$ 2>/dev/null || { echo "this machine allows no network namespaces"; return; }
    ip netns del vice-probe-$$
}

lab_netns_start() {
    local dir=$1 count=${2:-3} i why hub sshd
    why=$(lab_netns_why_not)
    if [[ -n $why ]]; then
        lab_say "hosts that can be cut off are left out: $why"
        LAB_NETNS_ABSENT=1
        return
    fi
    sshd=$(PATH=$PATH:/usr/sbin command -v sshd)
    hub=vice-hub-$$
    LAB_NETNS_DIR=$dir LAB_NETNS_COUNT=$count
    mkdir -p "$dir/homes" "$dir/hosts" /run/sshd
    chmod 700 "$dir"
    echo "$hub" >"$dir/hub"
    lab_ssh_keys "$dir"
    ip netns add "$hub"
    ip -n "$hub" link set lo up
    ip -n "$hub" link add br0 type bridge
    ip -n "$hub" addr add 10.231.7.1/24 dev br0
    ip -n "$hub" link set br0 up
    : >"$dir/config"
    : >"$dir/known_hosts"
    for ((i = 1; i <= count; i++)); do lab_netns_host "$dir" "$hub" "$i" "$sshd"; done
    # The way into the hub; bash alone carries the bytes.
    cat >>"$dir/config" <<CONF
Host *
    Port 22
    User root
    ProxyCommand ip netns exec $hub bash -c 'exec 3<>/dev/tcp/%h/%p || exit 1; cat <&3 & cat >&3; kill \$!'
CONF
    lab_ssh_trust "$dir" >>"$dir/config"
}

lab_netns_host() {
    local dir=$1 hub=$2 i=$3 sshd=$4 name=vice-h$3-$$
    mkdir -p "$dir/homes/n$i/small" "$dir/homes/n$i/readonly"
    ip netns add "$name"
    ip -n "$hub" link add "v$i" type veth peer name eth0 netns "$name"
    ip -n "$hub" link set "v$i" master br0 up
    ip -n "$name" addr add "10.231.7.1$i/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" link set lo up
    lab_sshd_config "$dir" "10.231.7.1$i" 22 "$dir/homes/n$i" >"$dir/sshd_$i.conf"
    printf 'Host n%s\n    HostName 10.231.7.1%s\n' "$i" "$i" >>"$dir/config"
    echo "10.231.7.1$i $(cut -d' ' -f1,2 "$dir/hostkey.pub")" >>"$dir/known_hosts"
    lab_leashed ip netns exec "$name" unshare -u -m -p -f --kill-child --mount-proc \
        bash -c "hostname n$i
            mount -t tmpfs -o size=1m small '$dir/homes/n$i/small'
            mount -t tmpfs -o ro readonly '$dir/homes/n$i/readonly'
            exec '$sshd' -D -f '$dir/sshd_$i.conf' -E '$dir/sshd_$i.log'" \
        </dev/null >/dev/null 2>&1 &
    echo $! >"$dir/hosts/n$i.pid"
    echo "$name" >"$dir/hosts/n$i.netns"
}

lab_netns_ready() {
    local i
    [[ $LAB_NETNS_ABSENT == 0 ]] || return 0
    for ((i = 1; i <= LAB_NETNS_COUNT; i++)); do
        if ! lab_wait 30 "$(<"$LAB_NETNS_DIR/hosts/n$i.pid")" \
            ssh -F "$LAB_NETNS_DIR/config" -o BatchMode=yes -o ConnectTimeout=2 "n$i" true; then
            tail -n 20 "$LAB_NETNS_DIR/sshd_$i.log" >&2
            lab_die "The ssh server of host n$i did not become ready within 30 s."
        fi
    done
    export VICE_LAB_NETNS=$LAB_NETNS_DIR
}

lab_netns_stop() {
    local file
    [[ -n $LAB_NETNS_DIR ]] || return 0
    # The shell says of each that it was killed, which is no news.
    {
        for file in "$LAB_NETNS_DIR"/hosts/*.pid; do
            kill -KILL "$(<"$file")" || true
            wait "$(<"$file")" || true
        done
    } 2>/dev/null
    for file in "$LAB_NETNS_DIR"/hosts/*.netns "$LAB_NETNS_DIR/hub"; do ip netns del "$(<"$file")" 2>/dev/null || true; done
    LAB_NETNS_DIR=
}
