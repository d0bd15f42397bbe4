#!/usr/bin/env bash
# Makes this machine able to build Tidemill and its plugins. It says what it does before it does it, and does nothing
# where nothing is missing.
#
#   needed                          looked for                         else
#   a C compiler                    cc                                 apt-get install build-essential
#   Rust for wasm32                 rustup's target                    Debian's rustc-web, cargo-web, rust-web-src,
#                                   or Debian's sources of std         then rustup target add, then apt-get
set -euo pipefail

target=wasm32-unknown-unknown
packages=(rustc-web cargo-web rust-web-src)

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

sysroot() { rustc --print sysroot 2>/dev/null || true; }

has_rustup_target() {
    local root
    root=$(sysroot)
    [[ -n $root && -d $root/lib/rustlib/$target/lib ]]
}

has_debian_toolchain() {
    [[ -x /usr/bin/cargo && -x /usr/bin/rustc && -d /usr/lib/rustlib/src/rust/library/std ]] && has_linker
}

has_linker() {
    local host root
    host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p')
    for root in "$(sysroot)" /usr; do
        [[ -n $host && -x $root/lib/rustlib/$host/bin/rust-lld ]] && return 0
    done
    [[ -x /usr/bin/wasm-ld || -x /usr/bin/lld ]]
}

install() {
    local root=()
    command -v apt-get >/dev/null || return 1
    if ((EUID != 0)); then
        command -v sudo >/dev/null || { say "cannot install $*: neither root nor sudo"; return 1; }
        root=(sudo)
    fi
    say "installing $* with ${root[*]:+${root[*]} }apt-get"
    "${root[@]}" apt-get update -qq && "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

c_compiler() {
    if command -v cc >/dev/null; then
        say "C compiler: $(command -v cc)"
    else
        install build-essential || fail "there is no C compiler; install one (cc), as in: apt-get install build-essential"
    fi
}

rust_for_wasm() {
    command -v rustc >/dev/null || fail "there is no Rust; install it from https://rustup.rs, then run this again"
    if has_rustup_target; then
        say "Rust for $target: rustup has it"
        return
    fi
    if has_debian_toolchain; then
        say "Rust for $target: Debian's toolchain builds it"
        return
    fi
    if command -v rustup >/dev/null; then
        say "trying: rustup target add $target (for at most 60 s)"
        if timeout 60 rustup target add "$target" && has_rustup_target; then
            say "Rust for $target: rustup has it now"
            return
        fi
        say "rustup could not add it; trying Debian's toolchain instead"
    fi
    local wanted=("${packages[@]}")
    has_linker || wanted+=(lld)
    if install "${wanted[@]}" && has_debian_toolchain; then
        say "Rust for $target: Debian's toolchain builds it"
        return
    fi
    fail "found no way to build for $target; run: rustup target add $target (or, on Debian: apt-get install ${wanted[*]})"
}

c_compiler
rust_for_wasm
say "ready"
