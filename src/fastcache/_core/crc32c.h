/* CRC32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720 appendix B.4).
 *
 * Hardware instructions are chosen at run time, so that one wheel serves every machine of its architecture. They have
 * a latency of three cycles and a throughput of one, so long inputs are cut into three lanes that are worked on side
 * by side and joined by a table that advances a CRC over one lane of zero bytes.
 *
 * All state is constant after fc_crc32c_init(), which must run once before any other call (module import does it).
 */
#ifndef FASTCACHE_CRC32C_H
#define FASTCACHE_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

#define FC_CRC_LONG_LANE 8192
#define FC_CRC_SHORT_LANE 256

typedef uint32_t (*fc_crc32c_function)(uint32_t crc, const uint8_t *data, size_t length);

static uint32_t fc_crc_slices[8][256];
static uint32_t fc_crc_skip_long[4][256];
static uint32_t fc_crc_skip_short[4][256];
static fc_crc32c_function fc_crc32c_chosen;
static const char *fc_crc32c_chosen_name;

/* The functions below work on the inverted register; fc_crc32c() inverts once on the way in and once on the way out. */

static uint32_t fc_crc32c_portable(uint32_t crc, const uint8_t *data, size_t length) {
    while (length >= 8) {
        /* Bytes are combined by shifts, not by a load: the same on machines of either byte order. */
        uint32_t low = crc ^ ((uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24);
        crc = fc_crc_slices[7][low & 0xff] ^ fc_crc_slices[6][low >> 8 & 0xff] ^ fc_crc_slices[5][low >> 16 & 0xff] ^
              fc_crc_slices[4][low >> 24] ^ fc_crc_slices[3][data[4]] ^ fc_crc_slices[2][data[5]] ^
              fc_crc_slices[1][data[6]] ^ fc_crc_slices[0][data[7]];
        data += 8;
        length -= 8;
    }
    while (length--)
        crc = crc >> 8 ^ fc_crc_slices[0][(crc ^ *data++) & 0xff];
    return crc;
}

static inline uint32_t fc_crc_skip(const uint32_t table[4][256], uint32_t crc) {
    return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^ table[3][crc >> 24];
}

#if defined(__x86_64__)
#define FC_CRC_HARDWARE "sse4.2"
#define FC_CRC_TARGET __attribute__((target("sse4.2")))
#define FC_CRC_WORD(crc, word) ((uint64_t)__builtin_ia32_crc32di((crc), (word)))
#define FC_CRC_BYTE(crc, byte) (__builtin_ia32_crc32qi((uint32_t)(crc), (byte)))
static int fc_crc_hardware_present(void) { __builtin_cpu_init(); return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__linux__)
#define FC_CRC_HARDWARE "armv8-crc"
#define FC_CRC_TARGET __attribute__((target("+crc")))
#define FC_CRC_WORD(crc, word) ((uint64_t)__crc32cd((uint32_t)(crc), (word)))
#define FC_CRC_BYTE(crc, byte) (__crc32cb((uint32_t)(crc), (byte)))
static int fc_crc_hardware_present(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#endif

#ifdef FC_CRC_HARDWARE
static inline uint64_t fc_crc_load(const uint8_t *data) {
    uint64_t word;
    memcpy(&word, data, 8); /* both architectures above are little-endian and allow unaligned loads */
    return word;
}

FC_CRC_TARGET static uint32_t fc_crc_lanes(uint32_t crc, const uint8_t *data, size_t lane, const uint32_t skip[4][256]) {
    uint64_t first = crc, second = 0, third = 0;
    for (size_t at = 0; at < lane; at += 8) {
        first = FC_CRC_WORD(first, fc_crc_load(data + at));
        second = FC_CRC_WORD(second, fc_crc_load(data + lane + at));
        third = FC_CRC_WORD(third, fc_crc_load(data + 2 * lane + at));
    }
    return fc_crc_skip(skip, fc_crc_skip(skip, (uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
}

FC_CRC_TARGET static uint32_t fc_crc32c_hardware(uint32_t crc, const uint8_t *data, size_t length) {
    while (length >= 3 * FC_CRC_LONG_LANE) {
        crc = fc_crc_lanes(crc, data, FC_CRC_LONG_LANE, fc_crc_skip_long);
        data += 3 * FC_CRC_LONG_LANE;
        length -= 3 * FC_CRC_LONG_LANE;
    }
    while (length >= 3 * FC_CRC_SHORT_LANE) {
        crc = fc_crc_lanes(crc, data, FC_CRC_SHORT_LANE, fc_crc_skip_short);
        data += 3 * FC_CRC_SHORT_LANE;
        length -= 3 * FC_CRC_SHORT_LANE;
    }
    uint64_t wide = crc;
    while (length >= 8) {
        wide = FC_CRC_WORD(wide, fc_crc_load(data));
        data += 8;
        length -= 8;
    }
    crc = (uint32_t)wide;
    while (length--)
        crc = FC_CRC_BYTE(crc, *data++);
    return crc;
}
#endif

/* The CRC is linear over GF(2): what `zeros` zero bytes do to a register is the XOR of what they do to its bits. */
static void fc_crc_make_skip(uint32_t table[4][256], size_t zeros) {
    uint32_t bits[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t crc = (uint32_t)1 << bit;
        for (size_t n = 0; n < zeros; n++)
            crc = crc >> 8 ^ fc_crc_slices[0][crc & 0xff];
        bits[bit] = crc;
    }
    for (int byte = 0; byte < 4; byte++)
        for (int value = 0; value < 256; value++) {
            uint32_t crc = 0;
            for (int bit = 0; bit < 8; bit++)
                if (value >> bit & 1)
                    crc ^= bits[8 * byte + bit];
            table[byte][value] = crc;
        }
}

static void fc_crc32c_init(void) {
    for (int value = 0; value < 256; value++) {
        uint32_t crc = (uint32_t)value;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
        fc_crc_slices[0][value] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int value = 0; value < 256; value++) {
            uint32_t crc = fc_crc_slices[slice - 1][value];
            fc_crc_slices[slice][value] = crc >> 8 ^ fc_crc_slices[0][crc & 0xff];
        }
    fc_crc_make_skip(fc_crc_skip_long, FC_CRC_LONG_LANE);
    fc_crc_make_skip(fc_crc_skip_short, FC_CRC_SHORT_LANE);
    fc_crc32c_chosen = fc_crc32c_portable;
    fc_crc32c_chosen_name = "portable";
#ifdef FC_CRC_HARDWARE
    if (fc_crc_hardware_present()) {
        fc_crc32c_chosen = fc_crc32c_hardware;
        fc_crc32c_chosen_name = FC_CRC_HARDWARE;
    }
#endif
}

/* The CRC of `data` continuing `seed`, itself the CRC of what came before (0 for nothing). */
static inline uint32_t fc_crc32c(const void *data, size_t length, uint32_t seed) {
    return ~fc_crc32c_chosen(~seed, (const uint8_t *)data, length);
}

static inline uint32_t fc_crc32c_by_tables(const void *data, size_t length, uint32_t seed) {
    return ~fc_crc32c_portable(~seed, (const uint8_t *)data, length);
}

#endif
