#!/usr/bin/env bash
# Makes docs/demo.png: one `bootwatch demo --once` in a terminal of 100 columns.
#
#   docs/demo-screenshot.sh [FILE]
#
# Needs script (util-linux), python3 and chromium. Takes the program that `cargo build --release` made, or $BOOTWATCH;
# $RECORDING names a recording made before by script(1), to be drawn instead of a new one.
set -euo pipefail
cd "$(dirname "$0")/.."
picture=$(realpath "${1:-docs/demo.png}")
program=$(realpath "${BOOTWATCH:-target/release/bootwatch}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

recording=${RECORDING:-}
if [ -z "$recording" ]; then
  recording=$work/recording
  script -qec "stty cols 100 rows 40; '$program' demo --once" "$recording" </dev/null >/dev/null
fi

# The terminal's bytes as a page. Of lines that are overwritten (the moving figures) the last state is what remains.
rows=$(python3 - "$recording" "$work/page.html" <<'PYTHON'
import html
import re
import sys

text = open(sys.argv[1], encoding="utf-8", errors="replace", newline="").read()
lines = text.replace("\r\n", "\n").split("\n")
lines = [line for line in lines if not line.startswith("Script ")]
# What stands on each line at the end: after the last "back to the start and clear".
lines = [line.split("\r\x1b[K")[-1] for line in lines]
while lines and not lines[-1].strip():
    lines.pop()
classes = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow"}


def drawn(line):
    out, open_spans = [], 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", part)
        if not code:
            out.append(html.escape(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", part)))
        elif code[1] in classes:
            out.append(f'<span class="{classes[code[1]]}">')
            open_spans += 1
        else:
            out.append("</span>" * open_spans)
            open_spans = 0
    return "".join(out) + "</span>" * open_spans


lines = ['<span class="green">$</span> cargo run --release -- demo --once'] + [drawn(line) for line in lines]
style = """
body { margin: 0; background: #16181d; }
pre { margin: 0; padding: 18px 22px; color: #d6d9e0; font: 15px/21px 'DejaVu Sans Mono', monospace; }
.bold { font-weight: bold; color: #fff; } .dim { color: #868d9b; }
.red { color: #ff7b72; } .green { color: #7ee787; } .yellow { color: #e3b341; }
"""
page = f"<!doctype html><meta charset=utf-8><style>{style}</style><pre>" + "\n".join(lines) + "</pre>"
open(sys.argv[2], "w", encoding="utf-8").write(page)
print(len(lines))
PYTHON
)
chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
  --disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1.5 \
  --user-data-dir="$work/browser" --window-size=950,$((rows * 21 + 36)) \
  --screenshot="$picture" "file://$work/page.html" >/dev/null 2>&1
echo "$picture: $(wc -c <"$picture") bytes"
