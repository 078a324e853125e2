#!/usr/bin/env bash
# Makes .venv with everything in it, once for each state of pyproject.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/installed-$(cksum <pyproject.toml | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
  [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir -e '.[dev]'
  rm -f .venv/installed-*
  touch "$stamp"
fi
