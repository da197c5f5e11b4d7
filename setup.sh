#!/usr/bin/env bash
# Make .venv with the tested versions. A machine without an NVIDIA GPU gets torch's CPU build, never the
# gigabytes of CUDA packages: from the configured package index if it has one, else through uv, which knows where
# PyTorch keeps it.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Diffens needs Python 3.11 or newer; $("$python" --version) was found. Try: make PYTHON=python3.11" >&2
  exit 1
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt)
version=$(sed -n 's/^torch==//p' constraints.txt)
if ! .venv/bin/python -c 'import torch' 2>/dev/null && [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
  echo "No NVIDIA GPU found: installing the CPU build of torch $version"
  "${pip[@]}" "torch==$version+cpu" 2>/dev/null || {
    "${pip[@]}" uv
    .venv/bin/uv pip install --python .venv/bin/python --torch-backend=cpu "torch==$version"
  }
fi
echo "Installing Diffens and its dependencies into .venv (1 to 3 minutes)"
"${pip[@]}" -e '.[dev]'
