#!/usr/bin/env bash
# Sets everything up in .venv (Python 3.11 or newer is all it needs) and runs every check and test.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/installed-$(cksum <pyproject.toml | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
  [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
  rm -f .venv/installed-*
  touch "$stamp"
fi
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest "$@"
