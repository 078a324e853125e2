#!/usr/bin/env bash
# Sets everything up in .venv (Python 3.11 or newer is all it needs) and runs every check and test.
# Arguments go to pytest. DIBS_TEST_PROCESSES: how many processes run the tests, two unless said otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# What tests leave in the folder for temporary files, such as those that kill what would tidy up, goes with it.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
.venv/bin/python -m pytest -n "${DIBS_TEST_PROCESSES:-2}" --dist loadfile "$@"
