#!/usr/bin/env bash
# Makes docs/pages/*.png: the pages while a simulated controller's browser VMs fail.
#
#   docs/pages-screenshots.sh
#
# Needs node, npm, chromium, python3, curl. Takes the program that `cargo build --release` made, or $BOOTWATCH.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${BOOTWATCH:-target/release/bootwatch}")
pictures=$(realpath docs/pages)
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap cleanup EXIT
[ -d tests/pages/node_modules ] || (cd tests/pages && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund)

now=$(date +%s)
at() { date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
simulate() {
  "$program" simulate --log "$work/master-controller.log" --max-size 500000000 --no-noise --figures production --speed max "$@" 2>/dev/null
}
web=$(free_port) pager=$(free_port)
simulate --scenario mixed --start "$(at $((now - 86400 * 9)))" --duration 215h --rate 6 --seed 3
python3 - "$pager" <<'PYTHON' &
import http.server
import sys


class Pager(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Pager).serve_forever()
PYTHON
pids+=($!)
(umask 077 && echo 0123456789abcdef0123 >"$work/token")
cat >"$work/bootwatch.toml" <<TOML
[host]
name = "controller-1"
[log]
file = "$work/master-controller.log"
timezone = "UTC"
[web]
listen = "127.0.0.1:$web"
token_file = "token"
[store]
path = "$work/bootwatch.db"
[notify.oncall]
type = "webhook"
url = "http://127.0.0.1:$pager/page"
TOML
"$program" run --config "$work/bootwatch.toml" 2>"$work/run.log" &
pids+=($!)
base=http://127.0.0.1:$web
until curl -sf "$base/-/ready" >/dev/null; do sleep 0.1; done
simulate --scenario agent-missing --start "$(at $((now - 1200)))" --duration 18m --rate 30 --seed 5
json() { curl -sf "$base$1" | python3 -c "import json, sys; print(json.load(sys.stdin)$2)" 2>/dev/null; }
until [ "$(json /api/v1/state "['state']")" = down ]; do sleep 0.2; done
until [ "$(json /api/v1/messages "['messages'][0]['state']")" = sent ]; do sleep 0.2; done
boot=$(json '/api/v1/boots?failure=agent_refused&limit=1' "['boots'][0]['boot_id']")
incident=$(json /api/v1/incidents "['incidents'][0]['id']")
mkdir -p "$work/all"
node tests/pages/look.js "{\"base\":\"$base\",\"paths\":[\"/\",\"/boots\",\"/boots/$boot\",\"/incidents/$incident\"],\"pictures\":\"$work/all\",\"chromium\":\"$(command -v chromium)\"}" >"$work/found"
for name in now-desktop-light now-desktop-dark now-phone-light boots-one-desktop-light incidents-one-desktop-light; do
  cp "$work/all/$name.png" "$pictures/$name.png"
done
ls -l "$pictures"
