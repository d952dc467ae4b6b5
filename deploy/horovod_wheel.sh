#!/bin/sh
# Builds a wheel of Horovod for the torch of an environment, once, and prints its path: horovod_wheel.sh PYTHON
# Two to three minutes on two cores; needs g++ and cmake, which are installed with apt-get where they are missing.
# Wheels are kept in ~/.cache/wellread/wheels, by torch, Python and HOROVOD_GPU_OPERATIONS (NCCL, for GPUs).
set -eu
version=0.28.1
python=$1
key=$("$python" -c 'import sys, sysconfig, torch; print(f"torch-{torch.__version__}-{sys.implementation.cache_tag}-{sysconfig.get_platform()}")')
folder=${WELLREAD_CACHE:-$HOME/.cache/wellread}/wheels/$key${HOROVOD_GPU_OPERATIONS:+-$HOROVOD_GPU_OPERATIONS}
found() { find "$folder" -name "horovod-$version-*.whl" 2>/dev/null | head -n 1; }

if [ -z "$(found)" ]; then
  missing=
  command -v g++ >/dev/null || missing="$missing g++"
  command -v cmake >/dev/null || missing="$missing cmake"
  if [ -n "$missing" ]; then
    echo "installing$missing with apt-get" >&2
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq >&2
    # shellcheck disable=SC2086  # two words are two packages
    $sudo apt-get install -y -qq --no-install-recommends $missing >&2
  fi
  echo "building Horovod $version for $key: about three minutes, once" >&2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # It asks for C++14, and torch's headers need C++17; its CMakeLists drop what CXXFLAGS say. Unoptimised it compiles in
  # half the time, and what it does is wait for the network.
  cat > "$work/c++" <<'WRAPPER'
#!/bin/sh
for argument do
  shift
  case $argument in
    -std=c++14 | -std=gnu++14) set -- "$@" -std=c++17 ;;
    -O3) set -- "$@" -O1 -g0 ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec g++ "$@"
WRAPPER
  chmod +x "$work/c++"
  CXX="$work/c++" MAKEFLAGS="-j$(nproc)" HOROVOD_WITH_PYTORCH=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 \
    HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 "$python" -m pip wheel --quiet --disable-pip-version-check \
    --no-build-isolation --no-deps --wheel-dir "$work/wheel" "horovod==$version" > "$work/log" 2>&1 \
    || { tail -n 40 "$work/log" >&2; echo "Horovod could not be built; the last lines above say why" >&2; exit 1; }
  mkdir -p "$folder"
  # Whole or not at all: another build may be looking.
  cp "$work"/wheel/*.whl "$folder/.new-$$"
  mv "$folder/.new-$$" "$folder/$(basename "$work"/wheel/*.whl)"
fi
found
