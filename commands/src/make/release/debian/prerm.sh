#!/bin/sh
set -e

case $1 in
remove | deconfigure)
    if [ -d /run/systemd/system ]; then
        deb-systemd-invoke stop NAME.service >/dev/null || true
    elif NAME task:status >/dev/null 2>&1; then
        NAME task:stop
    fi
    ;;
esac
