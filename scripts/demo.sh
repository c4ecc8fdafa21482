#!/usr/bin/env bash
# `make demo`: a server in .demo, the main job against it, and a clean stop. KEEP=1 leaves the server and the endpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
home=${DEMO_HOME:-$PWD/.demo}
keep=${KEEP:+--keep}

if ! zaffre status --home "$home" >/dev/null 2>&1; then
    port=$(python - <<'PYTHON'
import socket
try:
    socket.create_server(("127.0.0.1", 8443)).close()
    print(8443)
except OSError:
    print(0)  # any free one
PYTHON
    )
    zaffre up --home "$home" --port "$port" --detach
fi
stop() {
    if [ -z "$keep" ]; then zaffre down --home "$home" --jobs; fi
}
trap stop EXIT
zaffre run --home "$home" python examples/main_job.py $keep
if [ -n "$keep" ]; then
    printf '\nThe server stays. Use it:  eval "$(.venv/bin/zaffre env --home %q)"\nStop it:   .venv/bin/zaffre down --home %q\n' "$home" "$home"
fi
