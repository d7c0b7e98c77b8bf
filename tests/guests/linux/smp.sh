#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the Linux guest: processes that are made, talk through pipes and are pinned, on every CPU
# at once, and whether all of it came through.
#
#	smp.sh ROUNDS

rounds=$1
cpus=$(nproc)

# A pipeline whose links run on CPUs of their own, from CPU $1 on; its checksum.
pipeline() {
	seq 1 2000 |
		taskset -c $((($1 + 1) % cpus)) sed 's/$/ a word/' |
		taskset -c $((($1 + 2) % cpus)) sort -r |
		taskset -c $((($1 + 3) % cpus)) sort -n |
		md5sum
}

# Many short lives, one after the other; how many ended as they should.
fork_many() {
	n=0
	for _ in $(seq 1 $((rounds * 10))); do
		taskset -c "$1" sh -c 'exit 7'
		[ $? = 7 ] && n=$((n + 1))
	done
	echo "$n"
}


right=$(pipeline 0)
for cpu in $(seq 0 $((cpus - 1))); do
	(
		for _ in $(seq 1 "$rounds"); do
			[ "$(pipeline "$cpu")" = "$right" ] || echo "cpu $cpu: a pipeline lost or changed something"
		done
		forked=$(fork_many "$cpu")
		[ "$forked" = $((rounds * 10)) ] || echo "cpu $cpu: $forked processes of $((rounds * 10))"
		on=$(taskset -c "$cpu" sed 's/.*) //' /proc/self/stat | cut -d' ' -f37)
		[ "$on" = "$cpu" ] || echo "cpu $cpu: pinned, and ran on $on"
		echo "cpu $cpu is done"
	) &
done
wait
echo "smp: $cpus CPUs are done"
