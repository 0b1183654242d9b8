/* Writing pieces of memory to a file, in system calls that end where a multiple of `unit` does. 0 or an errno. */
#ifndef FASTCACHE_WRITING_H
#define FASTCACHE_WRITING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FC_MOST_PIECES 512 /* of one system call, less than IOV_MAX */

/* As many of the `count` pieces, from byte `used` of the first, as fit into `room` bytes and one system call. */
static int fc_next_batch(const struct iovec *pieces, size_t count, size_t used, uint64_t room, struct iovec *batch) {
    int filled = 0;
    for (size_t at = 0; at < count && filled < FC_MOST_PIECES && room > 0; at++, used = 0) {
        size_t length = pieces[at].iov_len - used;
        if (length > room)
            length = room;
        if (length == 0)
            continue;
        batch[filled].iov_base = (char *)pieces[at].iov_base + used;
        batch[filled++].iov_len = length;
        room -= length;
    }
    return filled;
}

static int fc_write_pieces(int fd, const struct iovec *pieces, size_t count, off_t offset, uint64_t unit) {
    struct iovec batch[FC_MOST_PIECES];
    size_t used = 0;
    for (;;) {
        ssize_t written;
        int filled = fc_next_batch(pieces, count, used, unit - (uint64_t)offset % unit, batch);
        if (filled == 0)
            return 0;
        written = pwritev(fd, batch, filled, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? errno : EIO; /* no regular file takes nothing */
        offset += written;
        while (written > 0) {
            size_t left = pieces->iov_len - used;
            if ((size_t)written < left) {
                used += (size_t)written;
                break;
            }
            written -= (ssize_t)left;
            pieces++, count--, used = 0;
        }
    }
}

#endif
