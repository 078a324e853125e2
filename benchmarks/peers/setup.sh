#!/usr/bin/env bash
# Makes an environment of its own for each peer under .cache/peers/, so that nothing of theirs meets ours.
set -euo pipefail
cd "$(dirname "$0")/../.."
make() {
  local env=.cache/peers/$1
  shift
  if [ "$(cat "$env/made-of" 2>/dev/null || true)" != "$*" ]; then
    rm -rf "$env"
    "${PYTHON:-python3}" -m venv "$env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    echo "$*" >"$env/made-of"
  fi
}
make rpqueue rpqueue==0.33.7 redis==5.2.1 hiredis==3.5.0 'setuptools<81'
make taskiq taskiq==0.13.0 taskiq-redis==1.2.4 hiredis==3.5.0 uvloop
