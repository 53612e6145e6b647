#!/usr/bin/env bash
# build.sh [nodes] [dns] [helm] [certificates] [docker]
#
# Builds the throwaway control plane (etcd, kube-apiserver,
# kube-controller-manager, kubectl) from its Go modules into
# bin/controlplane, unless it is there already; with "nodes" kube-scheduler and
# kwok too, with "dns" CoreDNS, with "helm" Helm, with "certificates" cert-manager,
# and with "docker" Docker's engine, its command line and kind (on Linux).
# With K8S=1.34 they are of that version of Kubernetes and go into
# bin/controlplane-1.34; the versions are the directories below kubernetes/, and
# without K8S it is the newest.
#
# With KUBEBUILDER_ASSETS set, as for envtest, the binaries of that directory
# are used, and only what envtest's own bundle doesn't have is built when it is
# not among them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
k8s=${K8S:-1.36}
out=$(cd "$here/../.." && pwd)/bin/controlplane${K8S:+-$K8S}
assets=${KUBEBUILDER_ASSETS:-}

fail() {
  echo "error: $*" >&2
  exit 1
}

# required MODULE DIRECTORY: the version which the module in the directory asks for.
required() {
  awk -v module="$1" '$1 == "require" { $1 = ""; $0 = $0 } $1 == module && $2 ~ /^v/ { print $2; exit }' "$here/$2/go.mod"
}

[ -f "$here/kubernetes/$k8s/go.mod" ] ||
  fail "there is no Kubernetes $k8s; K8S can be" $(ls "$here/kubernetes")
kubernetes=$(required k8s.io/kubernetes "kubernetes/$k8s")
[ -n "$kubernetes" ] || fail "no version of k8s.io/kubernetes in $here/kubernetes/$k8s/go.mod"

# The version is not in the source of a Kubernetes release: its own build
# stamps it in, in both of these packages. The commit and the build date are
# left empty and at their default, which keeps the build reproducible.
kubernetes_ldflags() {
  local major minor package
  IFS=. read -r major minor _ <<<"${kubernetes#v}"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s ' "$package.gitVersion=$kubernetes" "$package.gitMajor=$major" \
      "$package.gitMinor=$minor" "$package.gitTreeState=archive" "$package.gitCommit="
  done
}

# stamp DIRECTORY VERSION LDFLAGS: what a binary was built from.
stamp() {
  local file
  printf '%s ' "$2"
  for file in go.mod main.go; do
    [ ! -f "$here/$1/$file" ] || printf '%s %s ' "$file" "$(git hash-object --no-filters "$here/$1/$file")"
  done
  echo "$3"
}

# current NAME STAMP: whether the binary is there and was built from that.
current() {
  [ -x "$out/$1" ] && [ -f "$out/$1.stamp" ] && [ "$(cat "$out/$1.stamp")" = "$2" ]
}

# build NAME PACKAGE DIRECTORY VERSION USUAL-TIME LDFLAGS
build() {
  local name=$1 package=$2 directory=$3 version=$4 usual=$5 ldflags=$6 want ticker start
  want=$(stamp "$directory" "$version" "$ldflags")
  if current "$name" "$want"; then
    return
  fi
  mkdir -p "$out"
  # The lock only saves a second build of the same thing; where there is no
  # flock, the renames below still keep two builds from harming each other.
  if [ -z "${locked:-}" ] && command -v flock >/dev/null; then
    exec 9>"$out/.lock"
    flock -n 9 || { echo "waiting for another build of the control plane"; flock 9; }
    locked=yes
    rm -rf "$out"/.build.* # of one that was killed
    if current "$name" "$want"; then
      return
    fi
  fi

  echo "building $name $version from its Go module; the first time takes about $usual on two cores ..."
  start=$SECONDS
  temporary=$(mktemp -d "$out/.build.XXXXXX")
  # Short naps, so that it soon notices that we are gone; it must hold neither
  # the lock nor our output then.
  while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    elapsed=$((SECONDS - start))
    [ $((elapsed % 30)) -ne 0 ] || echo "  $name: still building after ${elapsed}s"
  done 9>&- &
  ticker=$!
  if ! CGO_ENABLED=0 GOWORK=off GOOS=$(go env GOHOSTOS) GOARCH=$(go env GOHOSTARCH) \
    go build -C "$here/$directory" -mod=readonly -trimpath -buildvcs=false \
    -ldflags "-s -w $ldflags" -o "$temporary/$name" "$package"; then
    kill "$ticker"
    fail "$name $version does not build"
  fi
  kill "$ticker"

  # In this order an interruption leaves a binary without a stamp, never a
  # binary with the stamp of another.
  echo "$want" >"$temporary/stamp"
  rm -f "$out/$name.stamp"
  mv "$temporary/$name" "$out/$name"
  mv "$temporary/stamp" "$out/$name.stamp"
  rmdir "$temporary"
  echo "  $name: built in $((SECONDS - start))s"
}

temporary=
trap '[ -z "$temporary" ] || rm -rf "$temporary"; kill $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# component NAME: builds it, unless it is among KUBEBUILDER_ASSETS.
component() {
  local name=$1
  if [ -n "$assets" ]; then
    [ ! -x "$assets/$name" ] || return 0
    case $name in etcd | kube-apiserver | kubectl)
      fail "KUBEBUILDER_ASSETS is $assets, but there is no $name; add it, or unset KUBEBUILDER_ASSETS to have all of them built"
      ;;
    esac
  fi
  case $name in
    etcd) build etcd go.etcd.io/etcd/server/v3 etcd "$(required go.etcd.io/etcd/server/v3 etcd)" "half a minute" "" ;;
    kwok) build kwok sigs.k8s.io/kwok/cmd/kwok kwok "$(required sigs.k8s.io/kwok kwok)" "a minute" "" ;;
    helm) build helm helm.sh/helm/v4/cmd/helm helm "$(required helm.sh/helm/v4 helm)" "half a minute" "-X helm.sh/helm/v4/internal/version.version=$(required helm.sh/helm/v4 helm)" ;;
    coredns) build coredns github.com/coredns/coredns coredns "$(required github.com/coredns/coredns coredns)" "a minute" "" ;;
    cert-manager) build cert-manager . certmanager "$(required github.com/cert-manager/cert-manager certmanager)" "two minutes" "" ;;
    dockerd) build dockerd github.com/moby/moby/v2/cmd/dockerd docker "$(required github.com/moby/moby/v2 docker)" "two minutes" "" ;;
    # It has no go.mod, for which Go takes its language for an old one.
    docker) GOFLAGS="${GOFLAGS:-} -gcflags=github.com/docker/cli/...=-lang=go1.26" \
      build docker github.com/docker/cli/cmd/docker docker "$(required github.com/docker/cli docker)" "a minute" "" ;;
    kind) build kind sigs.k8s.io/kind docker "$(required sigs.k8s.io/kind docker)" "a minute" "" ;;
    kube-apiserver) build "$name" "k8s.io/kubernetes/cmd/$name" "kubernetes/$k8s" "$kubernetes" "two minutes" "$(kubernetes_ldflags)" ;;
    *) build "$name" "k8s.io/kubernetes/cmd/$name" "kubernetes/$k8s" "$kubernetes" "a minute" "$(kubernetes_ldflags)" ;;
  esac
}

for name in etcd kubectl kube-apiserver kube-controller-manager; do
  component "$name"
done
for part in "$@"; do
  case $part in
    nodes) component kube-scheduler; component kwok ;;
    dns) component coredns ;;
    helm) component helm ;;
    certificates) component cert-manager ;;
    docker) component dockerd; component docker; component kind ;;
    *) fail "there are the parts nodes, dns, helm, certificates and docker, not $part" ;;
  esac
done
