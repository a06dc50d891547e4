#!/bin/sh
set -e

case $1 in
configure)
    getent passwd NAME >/dev/null ||
        adduser --system --group --quiet --no-create-home --home /var/lib/NAME NAME
    for folder in /var/lib/NAME /var/log/NAME; do
        [ -d "$folder" ] || install -d -o NAME -g NAME -m 0700 "$folder"
    done
    ;;
abort-upgrade | abort-remove | abort-deconfigure) ;;
esac

if [ -d /run/systemd/system ]; then
    deb-systemd-helper unmask NAME.service >/dev/null || true
    if deb-systemd-helper --quiet was-enabled NAME.service; then
        deb-systemd-helper enable NAME.service >/dev/null || true
    else
        deb-systemd-helper update-state NAME.service >/dev/null || true
    fi
    systemctl --system daemon-reload >/dev/null || true
    # The new program takes over the connections of the old one, and its tasks.
    if systemctl --quiet is-active NAME.service; then
        systemctl reload NAME.service || systemctl restart NAME.service
    elif [ -z "$2" ]; then
        deb-systemd-invoke start NAME.service >/dev/null || true
    fi
elif [ -n "$2" ] && NAME task:status >/dev/null 2>&1; then
    NAME task:reload
fi
