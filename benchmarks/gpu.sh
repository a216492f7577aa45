#!/usr/bin/env bash
# Everything that is to be known of a GPU, in at most 8 minutes: benchmarks/gpu.sh > gpu.md. Status 2 where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" -m benchmarks.gpu "$@"
