#!/usr/bin/env bash
# Sets everything up in .venv (Python 3.11 or newer is all it needs) and runs the demo: a broker on its private Redis,
# a worker, and the standard library's source files as tasks. --serve: leave it running until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec .venv/bin/python -m examples.demo "$@"
