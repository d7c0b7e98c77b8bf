#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The first process of the Linux that is host to Weir: loads KVM, runs what /run.sh says, and
# switches the machine off. Its console is the machine's first serial line, Weir's the second.

/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin

for module in irqbypass kvm; do
	insmod "/modules/$module.ko"
done
# For every insmod of it, /run.sh's too.
# Bochs 3.0 has posted interrupts and refuses an entry whose descriptor does not begin a page, as KVM's.
export KVM_INTEL="nested=1 enable_apicv=0"
insmod /modules/kvm-intel.ko $KVM_INTEL || echo "nested: kvm-intel could not be loaded"
for parameter in nested ept eptad unrestricted_guest vpid pml enable_apicv preemption_timer; do
	echo "nested: kvm_intel $parameter=$(cat "/sys/module/kvm_intel/parameters/$parameter")"
done
echo "nested: Linux $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s," \
	"$(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo) KiB free"
stty -F /dev/ttyS1 raw -echo
cd /tmp || exit
sh /run.sh
echo "nested: it ended with status $?, up $(cut -d' ' -f1 /proc/uptime) s"
poweroff -f
while :; do sleep 3600; done
