#!/bin/sh
set -e

if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
case $1 in
remove)
    if [ -x /usr/bin/deb-systemd-helper ]; then
        deb-systemd-helper mask NAME.service >/dev/null || true
    fi
    ;;
purge)
    if [ -x /usr/bin/deb-systemd-helper ]; then
        deb-systemd-helper purge NAME.service >/dev/null || true
        deb-systemd-helper unmask NAME.service >/dev/null || true
    fi
    rm -rf /var/lib/NAME /var/log/NAME
    if getent passwd NAME >/dev/null && [ -x /usr/sbin/deluser ]; then
        deluser --quiet --system NAME || true
    fi
    ;;
esac
