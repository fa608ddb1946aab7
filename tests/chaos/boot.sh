#!/bin/sh
# What happens inside the machine that test_boot.py boots: "name: value" lines in /report, the journal in /journal.
exec 2>/errors
report() { echo "$1: $2" >>/report; }
show() { systemctl show -p "$1" --value splice.service; }
call() {
    curl -s -m 20 -o /answer -w '%{http_code}' http://127.0.0.1:8080/v1/chat/completions \
        -H 'Authorization: Bearer sk-splice-boot' -d "{\"model\": \"demo/demo-chat\", \"stream\": ${1:-false},
        \"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}"
}
ip link set lo up
# What `make install` ends with where it is not staged.
systemd-sysusers splice.conf && systemd-tmpfiles --create splice.conf && systemctl daemon-reload
# What the guide says, and what it cannot: that OpenAI is here, since there is no network. All of it has to succeed.
sed 's|^provider = "openai"|&\nbase_url = "http://127.0.0.1:9900/v1"|' /guide.sh >/followed.sh
/opt/splice/current/bin/python -c "
import asyncio
from proxy.demo import provider
async def main():
    await provider.start(port=9900)
    await asyncio.sleep(3600)
asyncio.run(main())" &
sleep 2
report guide "$(OPENAI_API_KEY=demo sh -eu /followed.sh >/followed && echo ok)"
key=$(sed -n 's/^the key for your clients, shown this once: //p' /followed)
sed -i 's|gpt-6-luna|openai/demo-chat|' /call.sh
report first-call "$(KEY=$key sh /call.sh | grep -c '"chat.completion"')"
report config "$(stat -c '%U:%G %a' /etc/splice/config.toml)"
report secret "$(stat -c '%U:%G %a' /etc/splice/secrets/openai)"
report units "$(systemctl is-enabled splice.socket splice.service | xargs)"
systemctl stop splice.socket splice.service

printf sk-splice-boot >/etc/splice/secrets/client
printf demo >/etc/splice/upstream-key
chmod 0600 /etc/splice/upstream-key
cat >/etc/splice/config.toml <<TOML
[server]
listen = ["systemd:public"]

[[accounts]]
name = "demo"
provider = "demo"
api_key = { credential = "upstream" }

[providers.demo]
dialects = ["openai-chat"]
base_url = "http://127.0.0.1:9900/v1"

[[keys]]
name = "boot"
key = { file = "/etc/splice/secrets/client" }
TOML
systemd-tmpfiles --create splice.conf
mkdir -p /etc/systemd/system/splice.service.d
# A loop that hangs when it is asked to, and a watchdog that does not take all day.
cat >/etc/systemd/system/splice.service.d/boot.conf <<'UNIT'
[Service]
LoadCredential=upstream:/etc/splice/upstream-key
WatchdogSec=2s
ExecStart=
ExecStart=/opt/splice/current/bin/python -c "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(60)); from proxy.cli import main; sys.exit(main(sys.argv[1:]))" -c /etc/splice/config.toml serve
UNIT
systemctl daemon-reload
systemctl start splice.socket
report start "$(systemctl start splice.service && echo ok)"
report call "$(call)"
sleep 4
report status "$(show StatusText)"
pid=$(show MainPID)
report user "$(stat -c %U "/proc/$pid")"
report capabilities "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")"
report seccomp "$(sed -n 's/^Seccomp:\t//p' "/proc/$pid/status")"
report new-privileges "$(sed -n 's/^NoNewPrivs:\t//p' "/proc/$pid/status")"
report state "$(stat -c '%U %a' /var/lib/splice)"
report runtime "$(stat -c '%U %a' /run/splice)"

kill -USR1 "$pid"
sleep 6
report restarts-after-hanging "$(show NRestarts)"
report call-after-hanging "$(call)"

kill -KILL "$(show MainPID)"
report call-after-kill "$(call)"

(call true >/streamed-code; cp /answer /streamed) &
sleep 0.5
report restart "$(systemctl restart splice.service && echo ok)"
wait $!
report call-after-restart "$(call)"
report streamed "$(cat /streamed-code) $(grep -c '^data: \[DONE\]' /streamed)"

pid=$(show MainPID)
(call true >/streamed-code; cp /answer /streamed) &
sleep 0.5
splice -c /etc/splice/config.toml upgrade >/upgraded
report upgrade "$(sed 's/[0-9]\{1,\})/N)/g' /upgraded)"
report main-is-another "$([ "$(show MainPID)" != "$pid" ] && echo yes)"
wait $!
report streamed-over-the-upgrade "$(cat /streamed-code) $(grep -c '^data: \[DONE\]' /streamed)"
report call-after-upgrade "$(call)"
sleep 1
report old-has-ended "$([ -e "/proc/$pid" ] || echo yes)"
report state-after-upgrade "$(show ActiveState) $(show NRestarts)"
# Nobody started it but the process that is gone, and yet it is looked after.
kill -KILL "$(show MainPID)"
report call-after-upgrade-and-kill "$(call)"

sed -i 's/^listen/lisen/' /etc/splice/config.toml
systemctl restart splice.service
sleep 2
report faulty "$(show ActiveState) $(show ExecMainStatus) $(show NRestarts)"
sed -i 's/^lisen/listen/' /etc/splice/config.toml
report call-after-repair "$(call)"
report stop "$(systemctl stop splice.socket splice.service && show Result)"
journalctl --no-pager -u splice.service -o cat >/journal
systemctl poweroff --force
