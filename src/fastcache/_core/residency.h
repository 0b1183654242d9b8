/* Is a part of a file in the page cache? Asked without reading a page that is not. */
#ifndef FASTCACHE_RESIDENCY_H
#define FASTCACHE_RESIDENCY_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif
#define FC_SYS_CACHESTAT 451 /* the same number on every architecture; Linux 6.5 */

struct fc_cachestat_range { uint64_t offset, length; };
struct fc_cachestat { uint64_t cached, dirty, writeback, evicted, recently_evicted; };

enum { FC_BY_CACHESTAT = 1, FC_BY_READ = 2 };

static uint64_t fc_page_size(void) {
    static uint64_t size;
    if (!size)
        size = (uint64_t)sysconf(_SC_PAGESIZE);
    return size;
}

static int fc_refused(int error) { return error == ENOSYS || error == EPERM || error == EOPNOTSUPP; }

/* Whether pages that are in the cache have been read: those that a disk is still bringing are in it too, and to send one
 * waits for it. One byte of each stretch is read; disks bring longer ones at once. Where nobody can tell they are taken
 * for read. */
#define FC_STRETCH 65536
static int fc_has_arrived(int fd, uint64_t offset, uint64_t length) {
    uint64_t at = offset, last = offset + length - 1;
    for (;;) {
        char byte;
        struct iovec into = {&byte, 1};
        ssize_t got = preadv2(fd, &into, 1, (off_t)at, RWF_NOWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fc_refused(errno) ? 1 : errno == EAGAIN ? 0 : -1;
        if (got == 0)
            return 0;
        if (at == last)
            return 1;
        at = last - at > FC_STRETCH ? at + FC_STRETCH : last;
    }
}

/* 1 resident, 0 not, -1 with errno. */
static int fc_resident_by_cachestat(int fd, uint64_t offset, uint64_t length) {
    uint64_t page = fc_page_size(), first = offset / page, last = (offset + length - 1) / page;
    struct fc_cachestat_range range = {offset, length};
    struct fc_cachestat answer = {0};
    if (syscall(FC_SYS_CACHESTAT, fd, &range, &answer, 0u) != 0)
        return -1;
    return answer.cached >= last - first + 1 ? fc_has_arrived(fd, offset, length) : 0;
}

/* Reads into a scratch buffer as long as no page has to be waited for. */
static int fc_resident_by_read(int fd, uint64_t offset, uint64_t length) {
    char scratch[16384];
    while (length) {
        struct iovec into = {scratch, length < sizeof scratch ? (size_t)length : sizeof scratch};
        ssize_t got = preadv2(fd, &into, 1, (off_t)offset, RWF_NOWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? 0 : -1;
        if (got == 0)
            return 0;
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
    return 1;
}

/* 1 resident, 0 not or nobody can tell (waiting for an I/O thread is safe, blocking the loop is not), -1 with errno.
 * `ways` remembers across calls what the kernel refuses for good; a race on it costs one system call. */
static int fc_resident(int fd, uint64_t offset, uint64_t length, int *ways) {
    int answer;
    if (length == 0)
        return 1;
    if (offset >= (uint64_t)INT64_MAX || length > (uint64_t)INT64_MAX - offset) {
        errno = EINVAL; /* no file is this long, and the arithmetic of pages would wrap */
        return -1;
    }
    if (*ways & FC_BY_CACHESTAT) {
        answer = fc_resident_by_cachestat(fd, offset, length);
        if (answer >= 0 || !fc_refused(errno))
            return answer;
        if (errno == ENOSYS)
            *ways &= ~FC_BY_CACHESTAT; /* EPERM and EOPNOTSUPP are about this file, not about the kernel */
    }
    if (*ways & FC_BY_READ) {
        answer = fc_resident_by_read(fd, offset, length);
        if (answer >= 0 || !fc_refused(errno))
            return answer;
        if (errno == ENOSYS)
            *ways &= ~FC_BY_READ;
    }
    return 0;
}

#endif
