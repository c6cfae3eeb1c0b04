#!/bin/sh
# Runs a command and keeps what it prints: docs/evidence/record.sh NAME COMMAND…
# The figures mean something only with what stands at the top: command, commit, machine, date.
set -u
name=$1
shift
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
{
    echo "command: $*"
    echo "commit:  $(git -C "$here" rev-parse --short HEAD)"
    echo "machine: $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ {printf "%d GiB", $2 / 1048576}' /proc/meminfo), $(uname -sm)"
    echo "date:    $(date -u +%Y-%m-%dT%H:%MZ)"
    echo
} >"$here/$name.txt"
"$@" >>"$here/$name.txt" 2>&1
status=$?
# where the checkout lies says nothing
sed -i "s#$(CDPATH='' cd -- "$here/../.." && pwd)#.#g" "$here/$name.txt"
echo "exit status: $status" >>"$here/$name.txt"
exit $status
