#!/usr/bin/env bash
# Installs what a fresh Debian 12 needs to build moqswitch: cmake and clang for BoringSSL,
# libclang for its bindings, pkg-config, and Node for tests of the control library. Quick and silent when nothing is missing.
set -euo pipefail

missing=()
command -v cmake >/dev/null || missing+=(cmake)
command -v clang >/dev/null || missing+=(clang)
command -v pkg-config >/dev/null || missing+=(pkg-config)
command -v node >/dev/null || missing+=(nodejs)
command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null || missing+=(build-essential)
has_libclang() {
    compgen -G '/usr/lib/*/libclang-*.so*' >/dev/null || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}
has_libclang || missing+=(libclang-dev)

if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "prepare: please install: ${missing[*]} (this script knows only apt-get)" >&2
        exit 1
    fi
    run=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
            echo "prepare: missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        run=(sudo -n)
    fi
    echo "prepare: installing ${missing[*]}" >&2
    "${run[@]}" apt-get update -qq
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "prepare: cargo is missing; install Rust 1.95 or later from https://rustup.rs" >&2
    exit 1
fi
