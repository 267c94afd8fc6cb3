# Becomes the container manager of one node. Runs in a mount namespace of its own.
# Arguments: mount options of the overlay (empty for a plain folder), the root folder, the
# node's name, then the node's control groups.
#
# Without groups of their own all nodes would share "payload" below the caller's group, and
# each systemd would take the processes of the others for its own.
set -eu
options=$1
root=$2
name=$3
shift 3
for group in "$@"; do
    mkdir -p "$group"
    echo $$ >"$group/cgroup.procs"
done
if [ -n "$options" ]; then
    mount -t overlay overlay -o "$options" "$root"
fi
exec systemd-nspawn --quiet --directory="$root" --machine="$name" --hostname="$name" \
    --register=no --keep-unit --link-journal=no --resolv-conf=off --timezone=off --boot
