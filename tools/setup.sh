#!/bin/bash
# Installs what building, the lab and the tests need and is not here yet. Quick when nothing is missing.
#   tools/setup.sh            everything
#   tools/setup.sh build      only what compiling needs (Debian packages, Rust, bpf-linker)
#   tools/setup.sh check      that and cargo-deny
#   tools/setup.sh e2e        only what Kubernetes' end-to-end suite needs beside everything
#   tools/setup.sh conformance   that, and the conformance suite of the network-policy-api
#   tools/setup.sh flannel    only what a lab with Flannel needs beside everything
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

BPF_LINKER=0.13.0
CARGO_DENY=0.20.2
KUBERNETES=$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$ROOT/tools/kubernetes/go.mod")
KUBE_PROGRAMS="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl"

# What the images of the end-to-end suite are made of.
e2e_packages() { debian "curl wget netcat-openbsd bind9-dnsutils iperf bash dash"; }

# Programs that may come from elsewhere are only installed if not in PATH.
packages() {
  local wanted="containernetworking-plugins nftables iptables conntrack tcpdump bpftool busybox-static iproute2
    util-linux mount procps jq gcc libc6-dev pkg-config ca-certificates llvm-22-dev libpolly-22-dev zlib1g-dev libzstd-dev
    rustc-web cargo-web libstd-rust-web-dev-bpf"
  have etcd && at_least 3.4 "$(etcd --version | sed -n 's/^etcd Version: //p')" || wanted+=" etcd-server"
  have containerd && at_least 1.6 "$(containerd --version | grep -oE ' v?[0-9]+\.[0-9.]+' | head -n 1 | tr -d ' v')" ||
    wanted+=" containerd"
  have runc || wanted+=" runc"
  have prometheus || wanted+=" prometheus"
  debian "$wanted"
}

# debian PACKAGES: installs those Debian packages that are not here yet.
debian() {
  local wanted=$1 missing
  # shellcheck disable=SC2086
  missing=$(comm -23 <(printf '%s\n' $wanted | sort) \
    <(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' $wanted 2> /dev/null | sed -n 's/^ii  *//p' | sort))
  [ -z "$missing" ] && { echo "all here"; return; }
  [ "$(id -u)" = 0 ] || die "missing Debian packages, install them as root: apt-get install" $missing
  echo "installing:" $missing
  export DEBIAN_FRONTEND=noninteractive
  # Services that packages would start are not wanted: the lab starts its own, in namespaces.
  local policy=/usr/sbin/policy-rc.d ours=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy && chmod +x $policy && ours=1; }
  apt-get update && apt-get install -y --no-install-recommends $missing || { [ -z $ours ] || rm -f $policy; return 1; }
  [ -z $ours ] || rm -f $policy
}

# Whichever comes first in PATH, rustup's or Debian's. The kernel programs always use Debian's, which has a precompiled core
# library for BPF.
rust() {
  have cargo || die "no cargo: the Debian package cargo-web has it"
  cargo --version
  at_least 1.95 "$(rustc --version | cut -d ' ' -f 2)" ||
    die "rustc $(rustc --version | cut -d ' ' -f 2) is too old: 1.95 is wanted (rustup update, or Debian's rustc-web)"
}

bpf_linker() {
  bpf-linker --version 2> /dev/null | grep -qF "$BPF_LINKER" && { echo "is here"; return; }
  LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version "$BPF_LINKER" --locked \
    --no-default-features --features llvm-22
}

cargo_deny() {
  have cargo-deny && { cargo deny --version; return; }
  cargo install cargo-deny --version "$CARGO_DENY" --locked
}

go_ready() {
  have go || die "no go: tools/kubernetes, tools/helm and tools/coredns are Go modules and need Go 1.21 or later in PATH" \
    "(Debian 12's golang-go is too old; Debian 13's or backports' will do)"
  at_least 1.21 "$(go env GOVERSION | sed 's/^go//')" || die "$(go version) is too old: 1.21 or later is needed"
}

# once MODULE FUNCTION ARGUMENTS: has FUNCTION DIR ARGUMENTS build in the module, once for each content of the module, and
# links what came to DIR to target/tools/bin.
once() {
  local module=$1 build=$2 key dir file
  shift 2
  key=$(cd "$ROOT/tools/$module" && { find . -name '*.go' -o -name go.mod -o -name go.sum; } | LC_ALL=C sort |
    xargs sha256sum | sha256sum | cut -c 1-16)
  dir=$CACHE/$module-$key
  if [ ! -d "$dir" ]; then
    go_ready
    mkdir -p "$CACHE"
    rm -rf "$dir.part" && mkdir "$dir.part"
    (cd "$ROOT/tools/$module" && "$build" "$dir.part" "$@")
    mv "$dir.part" "$dir"
  fi
  for file in "$dir"/*; do ln -sfn "$file" "$TOOLS/${file##*/}"; done
  ls -l "$TOOLS"
}

# go_build DIR CGO LDFLAGS PACKAGE...
go_build() {
  local dir=$1 cgo=$2 ldflags=$3
  shift 3
  CGO_ENABLED=$cgo nice go build -v -ldflags "-s -w $ldflags" -o "$dir/" "$@"
}

# From PATH if all programs have the wanted minor version.
kubernetes() {
  local minor=${KUBERNETES%.*} program found
  for program in $KUBE_PROGRAMS; do
    found=$(PATH=${PATH//$TOOLS:/} type -P "$program") || break
    case $program in
      kubectl) "$found" version --client ;;
      *) "$found" --version ;;
    esac 2> /dev/null | grep -q "v${minor//./\\.}\." || break
    [ "$program" = kubectl ] || continue
    for program in $KUBE_PROGRAMS; do ln -sfn "$(PATH=${PATH//$TOOLS:/} type -P "$program")" "$TOOLS/$program"; done
    echo "taken from PATH"
    return
  done
  # shellcheck disable=SC2086
  once kubernetes go_build 1 "$(kubernetes_stamp)" $(printf './%s ' $KUBE_PROGRAMS)
}

# The linker's options that tell a program of Kubernetes its version.
kubernetes_stamp() {
  local version=k8s.io/component-base/version minor=${KUBERNETES%.*}
  echo "-X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${minor#*.}"
}

helm_tool() {
  local found
  found=$(PATH=${PATH//$TOOLS:/} type -P helm) || found=
  if [ -n "$found" ] && "$found" version --short 2> /dev/null | grep -qE '^v(3\.(9|[1-9][0-9])|4)\.'; then
    ln -sfn "$found" "$TOOLS/helm"
    echo "taken from PATH"
    return
  fi
  once helm go_build 0 "-X helm.sh/helm/v3/internal/version.version=$(sed -n 's/^.*helm.sh\/helm\/v3 \(v[0-9.]*\).*/\1/p' "$ROOT/tools/helm/go.mod")" \
    helm.sh/helm/v3/cmd/helm
}

# For an image, so static, and always ours.
coredns_tool() { once coredns go_build 0 "" .; }

# The suite, the program that runs parts of it side by side, and the programs of its images.
e2e_tool() {
  grep -q "^\sk8s.io/kubernetes v$KUBERNETES\$" "$ROOT/tools/e2e/go.mod" ||
    die "tools/e2e/go.mod and tools/kubernetes/go.mod name different versions of Kubernetes"
  once e2e e2e_build
}

e2e_build() {
  local images=k8s.io/kubernetes/test/images porter
  go_build "$1" 0 "" github.com/onsi/ginkgo/v2/ginkgo $images/agnhost $images/regression-issue-74839 &&
    porter=$(go list -f '{{.Dir}}' $images/agnhost/porter) &&
    cp "$porter/localhost.crt" "$1/agnhost.crt" && cp "$porter/localhost.key" "$1/agnhost.key" &&
    CGO_ENABLED=0 nice go build -v . &&
    CGO_ENABLED=0 nice go test -c -ldflags "-s -w $(kubernetes_stamp)" -o "$1/e2e.test" k8s.io/kubernetes/test/e2e
}

# The suite, what lists its images, and what speaks SCTP in them.
conformance_tool() { once conformance conformance_build; }

conformance_build() {
  local suite=sigs.k8s.io/network-policy-api
  CGO_ENABLED=0 nice go build -v -o "$1/conformance-images" ./images &&
    CGO_ENABLED=0 nice go build -v -o "$1/conformance-agnhost" ./agnhost &&
    CGO_ENABLED=0 nice go test -c -ldflags "-s -w" -o "$1/conformance.test" $suite/conformance &&
    go list -m -f '{{.Version}}' $suite > "$1/conformance.version"
}

flannel_tool() { once flannel flannel_build; }

# The daemon and, from a module of its own, the plugin: the last release of the reference plugins that had it.
flannel_build() {
  go_build "$1" 0 "" . && mv "$1/flannel" "$1/flanneld" &&
    (cd cni && go_build "$1" 0 "" github.com/containernetworking/plugins/plugins/meta/flannel)
}

base() {
  step "Debian packages" packages
  step "Rust" rust
  step "bpf-linker $BPF_LINKER" bpf_linker
}

case ${1:-all} in
  build) base ;;
  check)
    base
    step "cargo-deny" cargo_deny
    ;;
  e2e | conformance)
    step "Debian packages of the suite's images" e2e_packages
    step "end-to-end suite $KUBERNETES (first time 8 minutes)" e2e_tool
    [ "$1" = e2e ] || step "conformance suite (first time 3 minutes)" conformance_tool
    ;;
  flannel) step "Flannel (first time 3 minutes)" flannel_tool ;;
  all)
    base
    step "Kubernetes $KUBERNETES (first time 9 minutes)" kubernetes
    step "helm (first time 2 minutes)" helm_tool
    step "CoreDNS (first time 2 minutes)" coredns_tool
    ;;
  *) die "usage: $0 [build|check|e2e|conformance|flannel|all]" ;;
esac
run_steps
