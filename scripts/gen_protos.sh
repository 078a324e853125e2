#!/usr/bin/env bash
# Generates the Python stubs and their typing from proto/ into clients/python/ (or into the folder named by $1).
# The generator stands in an environment of its own: it is the oldest supported one (generated code refuses to
# import under an older grpcio or protobuf than it was made with) and would hold the project back otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-clients/python}
env=.cache/gen-protos
pins=(grpcio-tools==1.71.2 mypy-protobuf==3.6.0 "setuptools<81")
stamp="$env/pins: ${pins[*]}"
if [ "$(cat "$env/stamp" 2>/dev/null || true)" != "$stamp" ]; then
  rm -rf "$env"
  "${PYTHON:-python3}" -m venv "$env"
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check "${pins[@]}"
  echo "$stamp" >"$env/stamp"
fi
mkdir -p "$out"
PATH="$PWD/$env/bin:$PATH" "$env/bin/python" -m grpc_tools.protoc \
  -Iproto \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
  proto/dibs/v1/*.proto
: >"$out/dibs/v1/__init__.py"
