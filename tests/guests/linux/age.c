/* SPDX-License-Identifier: MIT */
/*
 * Runs in the Linux that is host to QEMU: has the kernel age a VM's memory.
 *
 *	age PID
 *
 * The VM's memory is taken to be the process's largest anonymous mapping. MADV_PAGEOUT asks the kernel to
 * reclaim its pages now: it looks at each as when memory is short, which asks KVM, too, whether the page
 * was used and clears what says so (folio_referenced, the MMU notifier clear_flush_young). A page that was
 * used is kept, and has been aged. Of one that was not the kernel would want room on a swap disk: there
 * is to be none, so that it is kept as well.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct iovec largest_anonymous(const char *pid)
{
	struct iovec found = {0};
	char path[64], line[512];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "r");
	if (!maps)
		return found;
	while (fgets(line, sizeof(line), maps)) {
		uint64_t from, to, inode;
		char rights[8];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %" SCNu64, &from, &to, rights,
			   &inode) != 4)
			continue;
		if (inode || rights[1] != 'w' || to - from <= found.iov_len)
			continue;
		found.iov_base = (void *)from;
		found.iov_len = to - from;
	}
	fclose(maps);
	return found;
}

int main(int argc, char **argv)
{
	struct iovec memory;
	int process;

	if (argc != 2)
		return 2;
	memory = largest_anonymous(argv[1]);
	process = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
	if (!memory.iov_len || process < 0) {
		perror("age: no such process, or it has no memory");
		return 1;
	}
	while (memory.iov_len) {
		ssize_t done = syscall(SYS_process_madvise, process, &memory, 1, MADV_PAGEOUT, 0);

		if (done <= 0) {
			perror("age: process_madvise");
			return 1;
		}
		memory.iov_base = (char *)memory.iov_base + done;
		memory.iov_len -= (size_t)done;
	}
	return 0;
}
