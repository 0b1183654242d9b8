/* What is done to the files of an object around a write: several system calls in one, each 0 or an errno.
 *
 * Nothing here needs the interpreter, so that a thread for which nobody waits does not take it from the loop and give it
 * back at every single call. Paths are relative to `root`, and end with a zero. */
#ifndef FASTCACHE_PLACING_H
#define FASTCACHE_PLACING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomics.h"
#include "writing.h"

#define FC_NEW_FILE (O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)

/* An object's byte in the LOCK file, and the counter of changes that is raised before it is given back. Without a
 * descriptor (-1) the directory is nobody else's, and nobody has to be told. */
typedef struct {
    int fd;
    off_t at;
    uint64_t *changes;
} fc_guard;

static int fc_guard_set(const fc_guard *guard, short kind) {
    struct flock lock = {.l_type = kind, .l_whence = SEEK_SET, .l_start = guard->at, .l_len = 1};
    int outcome;
    if (guard->fd < 0)
        return 0;
    do
        outcome = fcntl(guard->fd, F_OFD_SETLKW, &lock);
    while (outcome < 0 && errno == EINTR);
    return outcome < 0 ? errno : 0;
}

static int fc_enter(const fc_guard *guard) { return fc_guard_set(guard, F_WRLCK); }

/* Giving a lock back fails only for a descriptor that is none, which taking it would have told. */
static void fc_leave(const fc_guard *guard) { (void)fc_guard_set(guard, F_UNLCK); }

static uint64_t fc_changes_of(const fc_guard *guard) { return guard->changes ? fc_load(guard->changes) : 0; }

static uint64_t fc_changed(const fc_guard *guard) { return guard->changes ? fc_raise(guard->changes) : 0; }

/* A new, empty file, which the caller owns, in `fd`. */
static int fc_create(int root, const char *path, int *fd) {
    do
        *fd = openat(root, path, FC_NEW_FILE, 0600);
    while (*fd < 0 && errno == EINTR);
    return *fd < 0 ? errno : 0;
}

/* Closes `fd`, after what was written is durable where that is asked for. An error of either is a failed write. */
static int fc_finish(int fd, int durable, int error) {
    if (!error && durable && fsync(fd) < 0)
        error = errno;
    if (close(fd) < 0 && !error)
        error = errno;
    return error;
}

static int fc_exists(int root, const char *path, int *there) {
    struct stat status;
    if (fstatat(root, path, &status, AT_SYMLINK_NOFOLLOW) == 0) {
        *there = 1;
        return 0;
    }
    return errno == ENOENT ? 0 : errno;
}

/* If `object` or `directory` is there, make `mark` beside it. `there` tells whether one is, and `changes` how many changes
 * had been counted before. */
static int fc_mark_void(int root, const fc_guard *guard, const char *object, const char *directory, const char *mark,
                        int durable, int *there, uint64_t *changes) {
    int fd, error = fc_enter(guard);
    if (error)
        return error;
    *there = 0;
    *changes = fc_changes_of(guard);
    error = fc_exists(root, object, there);
    if (!error && !*there)
        error = fc_exists(root, directory, there);
    if (!error && *there) {
        error = fc_create(root, mark, &fd);
        error = error ? (error == EEXIST ? 0 : error) : fc_finish(fd, durable, 0);
        *changes = fc_changed(guard);
    }
    fc_leave(guard);
    return error;
}

/* Write a whole file as `part`: `header` at its beginning, `views` from `offset` on. What fails leaves no file. */
static int fc_write_whole(int root, const char *part, const struct iovec *header, const struct iovec *views,
                          size_t count, off_t offset, uint64_t unit, int durable) {
    int fd, error = fc_create(root, part, &fd);
    if (error)
        return error;
    error = fc_write_pieces(fd, header, 1, 0, unit);
    if (!error)
        error = fc_write_pieces(fd, views, count, offset, unit);
    error = fc_finish(fd, durable, error);
    if (error)
        (void)unlinkat(root, part, 0); /* the error that brought us here is the one to tell */
    return error;
}

/* Give `part` the name `target`, whoever has that. `clear` removes that one first: ext4 writes out at once what replaces
 * another file by a rename, so that a power cut leaves one of the two, and of two that are of different generations
 * nobody needs the first. What fails leaves no `part`. `before` is how many changes had been counted. */
static int fc_put_in_place(int root, const fc_guard *guard, const char *part, const char *target, int clear,
                           uint64_t *before) {
    int error = fc_enter(guard);
    if (!error) {
        if (clear && unlinkat(root, target, 0) < 0 && errno != ENOENT)
            error = errno;
        else if (renameat(root, part, root, target) < 0)
            error = errno;
        *before = fc_changed(guard);
        fc_leave(guard);
    }
    if (error)
        (void)unlinkat(root, part, 0);
    return error;
}

#endif
