#!/bin/sh
# Run a command in a tree that make_tree.sh made, on this machine's kernel. As root:
#
#     run_in_tree.sh TREE REPOSITORY COMMAND …
#
# REPOSITORY is /repo in there, and the working directory. What is mounted is seen by the command only, and vanishes with
# it. The environment is empty but for proxies, so that it is the same on each machine.
set -eu
tree=$(realpath "$1") repository=$(realpath "$2")
shift 2
export tree repository

# shellcheck disable=SC2016 # everything in it is the inner shell's
exec unshare --mount --propagation private sh -euc '
    mount --bind "$repository" "$tree/repo"
    mount -t proc proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    mount -t tmpfs tmpfs "$tree/tmp"
    # The network is this machine'"'"'s, with the certificate of a proxy that it may be behind.
    for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || mount --bind "$file" "$tree$file"
    done
    shim=/opt/dmabuf_shim.so
    if [ -e /dev/udmabuf ] || [ -e /dev/dma_heap/system ] || [ ! -e "$tree$shim" ]; then shim=; fi
    exec chroot "$tree" env --ignore-environment --chdir=/repo HOME=/root LANG=C.UTF-8 \
        PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
        ${shim:+LD_PRELOAD=$shim} ${http_proxy+"http_proxy=$http_proxy"} ${https_proxy+"https_proxy=$https_proxy"} \
        "$@"' sh "$@"
