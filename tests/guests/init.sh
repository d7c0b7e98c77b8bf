#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# The first process of the Linux guest. Words on the kernel's command line:
#   weir.touch=MIB    write that much memory before the banner
#   weir.fill=MIB     fill that much, and read it again twice (tests/guests/linux/fill.c)
#   weir.fill_random  with what does not pack
#   weir.forks=N     fork and execute that often, and say how long it took
#   weir.rest=SECONDS do nothing for so long after the banner
#   weir.name=NAME    a word for the banner, to tell guests apart
#   weir.poweroff     power off after the banner instead of starting a shell

/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=vt102 PS1='guest# '
echo 3 >/proc/sys/kernel/printk # from here on the console is the person's

name=guest
touch=0
fill=0
fill_kind=
rest=0
forks=0
poweroff=
for word in $(cat /proc/cmdline); do
	case $word in
	weir.name=*) name=${word#*=} ;;
	weir.touch=*) touch=${word#*=} ;;
	weir.fill=*) fill=${word#*=} ;;
	weir.rest=*) rest=${word#*=} ;;
	weir.fill_random) fill_kind=random ;;
	weir.forks=*) forks=${word#*=} ;;
	weir.poweroff) poweroff=1 ;;
	esac
done

field() { # NAME: a line of /proc/meminfo, in KiB
	sed -n "s/^$1: *\([0-9]*\) kB/\1/p" /proc/meminfo
}

if [ "$touch" != 0 ]; then
	mount -t tmpfs -o "size=${touch}m" tmpfs /tmp
	dd if=/dev/zero of=/tmp/touched bs=1M count="$touch" 2>/dev/null
	echo "weir-guest: $name: touched $(($(stat -c %s /tmp/touched) >> 20)) MiB"
fi
if [ "$fill" != 0 ]; then
	fill "$fill" "$name" 2 $fill_kind
fi
now() { # of Linux's clock
	sed -n 's/^now at \([0-9]*\) nsecs/\1/p' /proc/timer_list
}

if [ "$forks" != 0 ]; then
	before=$(now)
	i=0
	while [ $i -lt "$forks" ]; do
		/bin/busybox true
		i=$((i + 1))
	done
	echo "weir-guest: $name: $forks forks in $(($(now) - before)) ns, TSC $(dmesg |
		sed -n 's/.*tsc: Detected \([0-9.]*\) MHz.*/\1/p' | tail -n 1) MHz"
fi
echo "weir-guest: $name: Linux $(uname -r), clock $(cat \
	/sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "weir-guest: $name: MemTotal $(field MemTotal) KiB, MemFree $(field MemFree) KiB," \
	"$(grep -c ^processor /proc/cpuinfo) CPU"
echo "weir-guest: $name: up $(cut -d' ' -f1 /proc/uptime) s"
echo "weir-guest: shell ready"
sleep "$rest"

if [ -z "$poweroff" ]; then
	cd /root || cd /
	setsid cttyhack sh
fi
poweroff -f
# Without ACPI there is nobody to switch off; a first process may not end.
while :; do sleep 3600; done
