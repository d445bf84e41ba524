#!/bin/sh
# One machine, all of its GPUs. The same command is started again as long as the run is stopped and not done.
#
#     scripts/torchrun.sh cifar10-gpu --data.path PATH --out out/cifar10
#
# PROCESSES: number of processes (default: one per GPU). TRIES: maximum number of starts (default 10).
set -u
processes=${PROCESSES:-gpu}
tries=${TRIES:-10}
out=
for word in "$@"; do
    [ "${before:-}" = --out ] && out=$word
    case $word in --out=*) out=${word#--out=} ;; esac
    before=$word
done
[ -n "$out" ] || { echo "torchrun.sh: name the run's folder with --out" >&2; exit 2; }
case $out in  # the shell leaves ~ in --out=~/run as it is, and cosub expands it
    '~/'*) out=$HOME/${out#'~/'} ;;
    '~'*) echo "torchrun.sh: --out $out: write the folder without ~" >&2; exit 2 ;;
esac
# Between SIGTERM and SIGKILL, for a step and its checkpoint; torch 2.11 does not read it and waits for 30.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-240}"
while [ "$tries" -gt 0 ]; do
    torchrun --standalone --nproc-per-node "$processes" -m cosub train "$@"
    status=$?
    state=$(sed -n 's/.*"state": "\([a-z]*\)".*/\1/p' "$out/summary.json" 2>/dev/null)
    [ "$state" = stopped ] || exit "$status"
    tries=$((tries - 1))
    echo "torchrun.sh: stopped; starting again ($tries tries left)" >&2
done
exit 75
