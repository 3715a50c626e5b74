#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what a bare Debian 12 or Ubuntu 24.04 machine lacks, and builds the kernel side. Says what it does; does
# nothing where all is there.
#
#   scripts/setup.sh [build] [demo] [test] [cluster]      default: build
set -euo pipefail
cd "$(dirname "$0")/.."

# One list of packages per purpose.
BUILD_PACKAGES=(clang-19 llvm-19 g++ make libbpf-dev libelf-dev zlib1g-dev linux-libc-dev ca-certificates)
DEMO_PACKAGES=(gcc g++ python3 postgresql redis-server redis-tools)
TEST_PACKAGES=("${DEMO_PACKAGES[@]}" gdb elfutils binutils musl-tools nginx wrk openssl libc6-dbg perl php-cli bpftool chromium qemu-system-x86 busybox-static)
CLUSTER_PACKAGES=(buildah mmdebstrap iproute2 openssl curl libseccomp2)

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

wanted=()
need() { # packages that are not installed
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || wanted+=("$package")
  done
}

purposes=("${@:-build}")
for purpose in "${purposes[@]}"; do
  case $purpose in
    build) need "${BUILD_PACKAGES[@]}" ;;
    demo) need "${BUILD_PACKAGES[@]}" "${DEMO_PACKAGES[@]}" ;;
    test)
      need "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
      # Any Go and Rust will do for the fixtures.
      command -v go >/dev/null || need golang-go
      command -v rustc >/dev/null || need rustc
      # Debian and Ubuntu name its package differently.
      perf --version >/dev/null 2>&1 || need "$(. /etc/os-release && [ "$ID" = ubuntu ] && echo linux-tools-generic || echo linux-perf)"
      ;;
    cluster) need "${CLUSTER_PACKAGES[@]}" ;;
    *) fail "unknown purpose '$purpose' (build, demo, test, cluster)" ;;
  esac
done
command -v node >/dev/null || need nodejs npm
command -v npm >/dev/null || need npm

if [ "${#wanted[@]}" -gt 0 ]; then
  [ "$(id -u)" = 0 ] || fail "these packages are missing: ${wanted[*]}. Install them, or run this as root."
  command -v apt-get >/dev/null || fail "these packages are missing, and there is no apt-get: ${wanted[*]}"
  say "Installing packages: ${wanted[*]}"
  apt-get update -qq
  # Services of the distribution are not started: programs are run by hand, with data of their own.
  policy=
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null || { rm -f "$policy"; fail "apt-get could not install them"; }
  [ -z "$policy" ] || rm -f "$policy"
fi

# pnpm of the version that package.json names, outside the tree.
pnpm_version=$(sed -n 's/.*"packageManager": "pnpm@\([^"]*\)".*/\1/p' package.json)
pnpm_home="${XDG_CACHE_HOME:-$HOME/.cache}/plumbline/pnpm-$pnpm_version"
if [ ! -x "$pnpm_home/bin/pnpm" ]; then
  say "Installing pnpm $pnpm_version into $pnpm_home"
  npm install --silent --no-fund --no-audit --global --prefix "$pnpm_home" "pnpm@$pnpm_version"
fi

stamp=node_modules/.setup-lock
if ! cmp -s pnpm-lock.yaml "$stamp"; then
  say "Installing Node.js 24 and the npm packages"
  "$pnpm_home/bin/pnpm" install --frozen-lockfile --silent
  cp pnpm-lock.yaml "$stamp"
fi

node=node_modules/node/bin/node
[ -x "$node" ] || fail "Node.js 24 did not install; remove node_modules and try again"

newer() { # is any of the files newer than the target?
  local target=$1
  shift
  [ ! -e "$target" ] || [ -n "$(find "$@" -type f -newer "$target" -print -quit)" ]
}
if newer packages/bpf/build/addon.node packages/bpf/addon packages/bpf/scripts; then
  say "Building the libbpf addon"
  "$node" packages/bpf/scripts/build-addon.ts >&2
fi
if newer packages/bpf/build/profiler.bpf.o packages/bpf/bpf packages/bpf/scripts; then
  say "Building the BPF programs"
  "$node" packages/bpf/scripts/build-bpf.ts >&2
fi
