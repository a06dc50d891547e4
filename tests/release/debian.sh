# Installs, upgrades under load, removes and purges the package, in a copy of this machine that is thrown away.
# Arguments: the package, and an empty folder.
set -eu
package=$1
place=$2

mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
mount -t proc proc "$place/root/proc"
mount --rbind /dev "$place/root/dev"
mount -t tmpfs tmpfs "$place/root/run"
mkdir -p "$place/root/mnt"
cp "$package" "$place/root/mnt/first.deb"
cat >"$place/root/mnt/steps" <<'STEPS'
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
cd /

fail() {
    echo "FAILED: $1"
    exit 1
}

# Does as the unit does.
as_its_user() {
    setpriv --reuid=think --regid=think --clear-groups env -i PATH="$PATH" THINK_SERVER_PORT=0 "$@"
}

dpkg-deb -R /mnt/first.deb /mnt/tree
sed -i 's/^Version: .*/&+1/' /mnt/tree/DEBIAN/control
dpkg-deb --build --root-owner-group -Zgzip -z1 /mnt/tree /mnt/second.deb >/dev/null

echo '== install'
dpkg --install /mnt/first.deb
getent passwd think >/dev/null || fail 'there is no user'
[ "$(stat -c %U:%a /var/lib/think)" = think:700 ] || fail 'its folder is not its own'
[ "$(stat -c %U:%a /etc/think/server.toml)" = root:644 ] || fail 'its settings are not those of root'
think --version | grep -q '^think ' || fail 'the program does not run'
think config:show server | grep -q /var/log/think/server.log || fail 'the log is elsewhere'
man --warnings=w /usr/share/man/man1/think-task-start.1.gz 2>&1 >/mnt/page | grep . && fail 'a man page has warnings'
grep -q 'Start the task server' /mnt/page || fail 'a man page says nothing'
bash -n /usr/share/bash-completion/completions/think
zsh -n /usr/share/zsh/vendor-completions/_think
fish --no-execute /usr/share/fish/vendor_completions.d/think.fish
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify /lib/systemd/system/think.service 2>&1 | grep think.service && fail 'the unit has faults'
fi
if command -v logrotate >/dev/null; then
    logrotate --debug /etc/logrotate.d/think 2>&1 | grep -i '^error' && fail 'logrotate has faults'
fi

echo '== upgrade under load'
as_its_user think task:start -d
touch /mnt/sent
before=$(think task:status --json | grep -o '"pid": *[0-9]*' | head -n 1)
(
    while [ ! -e /mnt/stop ]; do
        think task:send echo hi --wait=30 >/dev/null 2>>/mnt/errors || echo lost >>/mnt/lost
        echo sent >>/mnt/sent
    done
) &
while [ "$(wc -l </mnt/sent)" -lt 5 ]; do sleep 0.1; done
echo '# mine' >>/etc/think/schedule.toml
dpkg --install /mnt/second.deb
between=$(wc -l </mnt/sent)
while [ "$(wc -l </mnt/sent)" -lt $((between + 5)) ]; do sleep 0.1; done
touch /mnt/stop
wait
[ ! -e /mnt/lost ] || fail "tasks were lost: $(cat /mnt/errors)"
after=$(think task:status --json | grep -o '"pid": *[0-9]*' | head -n 1)
[ "$before" != "$after" ] || fail 'the old program still runs'
[ "$(stat -c %U /var/lib/think/queue.db)" = think ] || fail 'the queue is not its own'
grep -q '^# mine' /etc/think/schedule.toml || fail 'changed settings were overwritten'

echo '== remove'
dpkg --remove think
think task:status 2>/dev/null && fail 'the program is still there'
pgrep -u think >/dev/null && fail 'the server still runs'
[ -e /var/lib/think/queue.db ] && [ -e /etc/think/server.toml ] || fail 'data or settings are gone'

echo '== purge'
dpkg --purge think
for left in /etc/think /etc/logrotate.d/think /var/lib/think /var/log/think /usr/lib/think; do
    [ ! -e "$left" ] || fail "$left is left"
done
getent passwd think >/dev/null && fail 'its user is left'
echo '== done'
STEPS
exec chroot "$place/root" sh /mnt/steps
