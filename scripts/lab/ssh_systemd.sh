# shellcheck shell=bash
# A host with a systemd of its own, whatever this machine has as its first process: a PID namespace whose process 1 is
# systemd, with nothing but its journal, an sshd and what tests put there. Sourced after common.sh and ssh.sh. It needs root.
#
#   lab_systemd_start DIR    starts it; sets LAB_SYSTEMD_ABSENT=1 and says why where that is impossible
#   lab_systemd_ready        waits, exports VICE_LAB_SYSTEMD
#   lab_systemd_stop
#
# VICE_LAB_SYSTEMD is a folder as VICE_LAB_SSH is one, for the host d1; `units` is its /etc/systemd/system. Whoever kills the
# process in `d1.pid` has pulled the plug: the host comes up again by itself, with the units that were enabled.

LAB_SYSTEMD_DIR=
LAB_SYSTEMD_PID=
LAB_SYSTEMD_GROUPS=()
LAB_SYSTEMD_ABSENT=0

# Where systemd puts processes in groups: hierarchies of its own where there are several, else the only one.
lab_systemd_groups() {
    local dir found=
    for dir in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        if mountpoint -q "$dir"; then echo "$dir" && found=1; fi
    done
    [[ -n $found ]] || echo /sys/fs/cgroup
}

lab_systemd_why_not() {
    [[ $(id -u) == 0 ]] || { echo "it needs root"; return; }
    if ! lab_have unshare || [[ ! -x /lib/systemd/systemd ]]; then
        echo "it needs unshare (util-linux) and systemd"
        return
    fi
    unshare --mount --pid --fork --cgroup true 2>/dev/null || { echo "this machine allows no namespaces"; return; }
    local groups
    for groups in $(lab_systemd_groups); do
        mkdir "$groups/vice-lab-$$" 2>/dev/null || { echo "this machine allows no control groups"; return; }
    done
}

# lab_systemd_unit DIR NAME: a unit of the host from standard input.
lab_systemd_unit() { cat >"$1/lib/$2"; }

lab_systemd_units() {
    local dir=$1 target
    mkdir -p "$dir/lib" "$dir/etc/system/multi-user.target.wants" "$dir/etc/journald.conf.d"
    ln -s "$dir/etc/system" "$dir/units"
    for target in sysinit basic network-online shutdown umount sockets multi-user; do
        printf '[Unit]\nDescription=%s of the lab\nDefaultDependencies=no\n' "$target" | lab_systemd_unit "$dir" "$target.target"
    done
    cp /lib/systemd/system/systemd-journald.service /lib/systemd/system/systemd-journald.socket "$dir/lib/"
    printf '[Journal]\nStorage=volatile\n' >"$dir/etc/journald.conf.d/lab.conf"
    lab_systemd_unit "$dir" lab-sshd.service <<UNIT
[Unit]
Description=The ssh server of the lab
[Service]
ExecStart=$2 -D -f $dir/sshd_1.conf -E $dir/sshd_1.log
KillMode=process
UNIT
    lab_systemd_unit "$dir" lab.target <<UNIT
[Unit]
Description=The lab
DefaultDependencies=no
Wants=systemd-journald.service lab-sshd.service multi-user.target
UNIT
}

# The first process of the host, until it is systemd itself.
lab_systemd_boot() {
    local dir=$1 groups
    shift
    mount --make-rprivate /
    mount -t proc proc /proc
    # What it sees as the root of the groups is its own.
    for groups in "$@"; do
        umount "$groups"
        if [[ $groups == */systemd ]]; then
            mount -t cgroup -o none,name=systemd cgroup "$groups"
        else
            mount -t cgroup2 cgroup2 "$groups"
        fi
    done
    mount -t tmpfs tmpfs /run
    mkdir -p /run/sshd
    mount --bind "$dir/lib" /lib/systemd/system
    mount --bind "$dir/etc" /etc/systemd
    # What this machine has in /etc/init.d and /etc/fstab is none of its business.
    mount -t tmpfs tmpfs /lib/systemd/system-generators
    exec env -i container=lab PATH="$PATH" /lib/systemd/systemd --system --unit=lab.target --log-target=journal --show-status=no
}

lab_systemd_start() {
    local dir=$1 why sshd groups=() port leash=
    why=$(lab_systemd_why_not)
    if [[ -n $why ]]; then
        lab_say "the host with systemd is left out: $why"
        LAB_SYSTEMD_ABSENT=1
        return
    fi
    sshd=$(PATH=$PATH:/usr/sbin command -v sshd)
    mapfile -t groups < <(lab_systemd_groups)
    port=$(lab_ports 1)
    LAB_SYSTEMD_DIR=$dir
    LAB_SYSTEMD_GROUPS=("${groups[@]/%//vice-lab-$$}")
    mkdir -p "$dir/homes/d1"
    chmod 700 "$dir"
    lab_ssh_keys "$dir"
    lab_sshd_config "$dir" 127.0.3.1 "$port" "$dir/homes/d1" >"$dir/sshd_1.conf"
    echo "[127.0.3.1]:$port $(cut -d' ' -f1,2 "$dir/hostkey.pub")" >"$dir/known_hosts"
    printf 'Host d1\n    HostName 127.0.3.1\nHost *\n    Port %s\n    User root\n' "$port" >"$dir/config"
    lab_ssh_trust "$dir" >>"$dir/config"
    lab_systemd_units "$dir" "$sshd"
    {
        declare -f lab_systemd_boot
        printf 'lab_systemd_boot %q %s\n' "$dir" "${groups[*]}"
    } >"$dir/boot"
    # Whoever is killed with this script takes the host along.
    if setpriv --help 2>/dev/null | grep -q -- --pdeathsig; then leash='setpriv --pdeathsig KILL'; fi
    # Each time that it has ended it is started again, in groups of its own that are empty.
    cat >"$dir/power" <<POWER
while :; do
    mkdir -p ${LAB_SYSTEMD_GROUPS[*]/%//d1}
    (
        for groups in ${LAB_SYSTEMD_GROUPS[*]}; do echo \$BASHPID >"\$groups/d1/cgroup.procs"; done
        exec $leash unshare --mount --uts --ipc --cgroup --pid --fork --kill-child bash '$dir/boot'
    ) &
    host=\$!
    until pgrep -P \$host >'$dir/d1.new' || ! kill -0 \$host 2>/dev/null; do sleep 0.02; done
    mv '$dir/d1.new' '$dir/d1.pid'
    wait \$host
    find ${LAB_SYSTEMD_GROUPS[*]/%//d1} -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
    sleep 0.2
done
POWER
    lab_leashed bash "$dir/power" </dev/null >"$dir/power.log" 2>&1 &
    LAB_SYSTEMD_PID=$!
}

lab_systemd_ready() {
    [[ $LAB_SYSTEMD_ABSENT == 0 ]] || return 0
    if lab_wait 15 "$LAB_SYSTEMD_PID" ssh -F "$LAB_SYSTEMD_DIR/config" -o BatchMode=yes -o ConnectTimeout=2 d1 true; then
        export VICE_LAB_SYSTEMD=$LAB_SYSTEMD_DIR
        return
    fi
    tail -n 20 "$LAB_SYSTEMD_DIR/power.log" "$LAB_SYSTEMD_DIR/sshd_1.log" >&2 || true
    lab_say "the host with systemd is left out: it does not come up here"
    lab_systemd_stop
    LAB_SYSTEMD_ABSENT=1
}

lab_systemd_stop() {
    [[ -n $LAB_SYSTEMD_PID ]] || return 0
    {
        kill -KILL "$LAB_SYSTEMD_PID" || true
        wait "$LAB_SYSTEMD_PID" || true
        kill -KILL "$(<"$LAB_SYSTEMD_DIR/d1.pid")" || true
        for _ in 1 2 3 4 5; do
            find "${LAB_SYSTEMD_GROUPS[@]}" -depth -type d -exec rmdir {} + && break
            sleep 0.1
        done
    } 2>/dev/null
    LAB_SYSTEMD_PID=
}
