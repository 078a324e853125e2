#!/usr/bin/env bash
# Sets everything up in .venv (Python 3.11 or newer is all it needs) and runs every check and test.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest "$@"
