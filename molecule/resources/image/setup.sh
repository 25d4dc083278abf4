#!/bin/sh
# Runs inside the image while it is built: makes a Debian root boot quietly as a lab host.
set -eu

# Units that need hardware, a console or a person.
systemctl mask getty@.service console-getty.service systemd-udevd.service \
    systemd-firstboot.service systemd-resolved.service
# A background apt run would hold the lock at a random moment of a test.
systemctl mask apt-daily.timer apt-daily-upgrade.timer

# As on a real host, where process 1 does it: else LoadCredential= silently hands nothing to a unit.
cat > /etc/systemd/system/share-mounts.service <<'UNIT'
[Unit]
Description=Share mounts with the namespaces of units
DefaultDependencies=no
Before=local-fs-pre.target sysinit.target

[Service]
Type=oneshot
ExecStart=/usr/bin/mount --make-rshared /

[Install]
WantedBy=sysinit.target
UNIT
systemctl enable share-mounts.service

# The lab logs in as this user; its public key is added when the host is created.
# (Debian has a group of that name already.)
useradd --create-home --gid operator --shell /bin/bash operator
echo 'operator ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/operator
chmod 0440 /etc/sudoers.d/operator

# Every host makes SSH host keys of its own at its first start.
rm -f /etc/ssh/ssh_host_*
mkdir -p /etc/systemd/system/ssh.service.d
cat > /etc/systemd/system/ssh.service.d/host-keys.conf <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
UNIT
systemctl enable ssh.service

# An empty machine-id is filled at boot, so that no two hosts share one.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id

# Docker's Debian image deletes downloaded packages and compresses lists; a real host does not.
rm -f /etc/apt/apt.conf.d/docker-* /etc/dpkg/dpkg.cfg.d/docker*
# Without package lists, and with a time stamp of 0, a role's `cache_valid_time` has to update.
apt-get clean
rm -rf /var/lib/apt/lists
mkdir -p /var/lib/apt/lists/partial
chown _apt: /var/lib/apt/lists/partial
touch --date=@0 /var/lib/apt/lists
