#!/usr/bin/env bash
# Builds .venv: ROS 2 Jazzy from wheels, the pinned requirements, this package (editable) and the
# message packages of test/interfaces. Does nothing when nothing changed. PYTHON= picks the Python;
# ROS=kilted builds .venv-kilted with the wheels of ROS 2 Kilted in place of Jazzy's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
    printf 'make setup: %s\n' "$1" >&2
    exit 1
}

distribution=${ROS:-jazzy}
case $distribution in
jazzy) venv=$PWD/.venv ;;
kilted) venv=$PWD/.venv-kilted ;;
*) die "ROS=$distribution: expected jazzy or kilted; others have no pinned wheels here" ;;
esac
log=$venv/setup.log

digest() { # of the files given and of where the environment lies
    { printf '%s\n' "$venv"; sha256sum "$@"; } | sha256sum | cut -d' ' -f1
}

requirements=$(digest requirements/*.txt setup.py setup.cfg training/setup.py pyproject.toml \
    tools/setup_env.sh)
mapfile -d '' sources < <(find test/interfaces -type f -print0 | sort -z)
interfaces=$(digest "${sources[@]}")
is_done() { [ -x "$venv/bin/cs3" ] && [ "$(cat "$venv/$1" 2>/dev/null)" = "$2" ]; }

if is_done .requirements "$requirements" && is_done .interfaces "$interfaces"; then
    exit 0
fi

suits() { # is this command a Python that the pinned wheels exist for?
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null
}

python=
for candidate in ${PYTHON:+"$PYTHON"} "$venv/bin/python" python3.11 python3.12 python3; do
    if suits "$candidate"; then
        python=$candidate
        break
    fi
    [ "$candidate" != "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a Python 3.11 or 3.12"
done
[ -n "$python" ] || die 'no Python 3.11 or 3.12 found; install one or give it with PYTHON='
[ "$(uname -sm)" = 'Linux x86_64' ] || die "ROS 2 wheels exist for Linux x86_64 only, this is \
$(uname -sm); use apt ROS 2 Jazzy as README.md shows"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$include/Python.h" ] || die "no $include/Python.h; try: apt-get install python3-dev"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die 'this Python cannot make virtual environments; try: apt-get install python3-venv'
command -v g++ >/dev/null || die 'no C++ compiler (g++); try: apt-get install g++'

wanted=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ -e "$venv" ] && ! "$venv/bin/python$wanted" -c '' 2>/dev/null; then
    die "$venv exists but is not a working Python $wanted; remove it and run make setup again"
fi

if [ -e "$venv/.requirements" ]; then
    echo "Updating $venv, because requirements or message definitions changed:"
else
    cat <<END
Setting up $venv with $("$python" --version):
  ROS 2 ${distribution^} from PyPI wheels, torch, MediaPipe, OpenCV, PyAV and the test tools;
  downloads 3.5 GB, takes 7 GB of disk and about 5 minutes on 2 cores, once.
END
fi

run() { # title, command...
    local title=$1 start=$SECONDS
    shift
    printf '  %-44s' "$title"
    if ! "$@" >>"$log" 2>&1; then
        printf 'failed; the end of %s:\n' "$log"
        tail -n 30 "$log"
        exit 1
    fi
    printf '%4d s\n' $((SECONDS - start))
}

wanted_ros=requirements/ros.txt pins=requirements/constraints.txt
other_distribution() { # everything but ROS has the versions that it has with Jazzy
    sed "s/^ros-jazzy-/ros-$distribution-/" requirements/ros.txt >"$venv/ros.txt"
    echo ros-ament-cmake-ros-core >>"$venv/ros.txt" # Kilted's generators need it and do not say so
    { sed '/^ros-/d' requirements/constraints.txt && cat "requirements/constraints_$distribution.txt"; } \
        >"$venv/constraints.txt"
    wanted_ros=$venv/ros.txt pins=$venv/constraints.txt
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" -c "$pins"; }

# The wheels carry the include directories of the machine they were built on.
rewrite_include_directories() {
    local numpy
    numpy=$("$venv/bin/python" -c 'import numpy; print(numpy.get_include())')
    find "$venv/share" -name '*.cmake' -exec sed -E -i \
        -e "s#/opt/python/cp[^;\" ]*/include/python[0-9.]+#$include#g" \
        -e "s#/opt/python/cp[^;\" ]*/numpy/_?core/include#$numpy#g" {} +
}

build_interfaces() {
    local package build
    build=$(mktemp -d)
    for package in audio_common_msgs statistics_msgs vision_msgs; do
        cmake -S "test/interfaces/$package" -B "$build/$package" -G Ninja -DBUILD_TESTING=OFF \
            -DCMAKE_INSTALL_PREFIX="$venv" -DPython3_EXECUTABLE="$venv/bin/python3" || return
        ninja -C "$build/$package" install || return
    done
    rm -rf "$build"
}

unset LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONPATH
export PATH=$venv/bin:$PATH AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv

if ! is_done .requirements "$requirements"; then
    [ -e "$venv" ] || "$python" -m venv "$venv"
    touch "$venv/COLCON_IGNORE" # where this clone lies in a workspace
    : >"$log"
    [ "$distribution" = jazzy ] || other_distribution
    run "ROS 2 ${distribution^} and its build tools" pip install -r "$wanted_ros"
    run 'torch' pip install torch torchvision torchaudio
    # sam2 is built from source: it imports torch to do so, and needs no CUDA kernels here.
    SAM2_BUILD_CUDA=0 run 'this package with its extras, and the training package' \
        pip install --no-build-isolation -e '.[lite,train,test,bench,cluster]' -e 'training[annotate]'
    run 'consistency of what was installed' "$venv/bin/python" -m pip check
    rewrite_include_directories
    echo "$requirements" >"$venv/.requirements"
fi
if ! is_done .interfaces "$interfaces"; then
    run 'messages of test/interfaces (compiled)' build_interfaces
    echo "$interfaces" >"$venv/.interfaces"
fi
