#!/bin/sh
# What must be true before anything else runs: mounts, a root file system as large as its volume, a loopback.
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=755,nosuid,nodev,size=20% tmpfs /run
mount -t tmpfs -o mode=1777,nosuid,nodev,size=20% tmpfs /tmp
ip link set lo up

read -r root rest <<EOF
$(grep ' / ext4 ' /proc/mounts)
EOF
# resize2fs costs an exec and a scan; most boots need none. Both numbers are 512-byte sectors.
volume=$(cat "/sys/class/block/${root##*/}/size")
if [ "$volume" != "$(cat /etc/volume-size 2>/dev/null)" ]; then
    resize2fs "$root" >/dev/null 2>&1 && echo "$volume" >/etc/volume-size ||
        echo "freehold-micro: cannot grow the root file system to $volume sectors"
fi
