/* The memory that all processes of one supervisor share; shared.pxd says what lies where. */
#ifndef FASTCACHE_SHARED_H
#define FASTCACHE_SHARED_H

#include "fences.h"

#define FC_SHARED_MAGIC 0x3164657261685346ull /* "FShared1" */
#define FC_SHARED_PAGE 4096
#define FC_SECTIONS 16
#define FC_CHANGES 65536
#define FC_CELLS 32
#define FC_GENERATIONS (1 << 20)

/* The words of a place; shared.pyx tells what each means. */
enum {
    CELL_BYTES,
    CELL_ACKNOWLEDGED,
    CELL_INCARNATION,
    CELL_LISTENING,
    CELL_CONNECTIONS,
    CELL_HANDED,
    CELL_TAKEN,
    CELL_EVICTIONS,
    CELL_STAGED
};

enum {
    FC_SECTION_FENCES,
    FC_SECTION_CHANGES,
    FC_SECTION_CELLS,
    FC_SECTION_NAMES,
    FC_SECTION_NUMBERS,
    FC_SECTION_GENERATIONS,
    FC_SECTION_CLAIMS
};

typedef struct {
    uint64_t offset; /* of a page; 0: there is no such section */
    uint64_t size;   /* bytes */
} fc_section;

typedef struct {
    uint64_t magic;
    uint64_t size;   /* bytes of the whole file */
    uint64_t places; /* processes there is room for at a time */
    uint64_t number_bytes; /* of one process's counters and histograms */
    fc_section sections[FC_SECTIONS];
} fc_shared;

#endif
