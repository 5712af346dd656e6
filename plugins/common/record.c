/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/common/record.h"

#include <string.h>

/* Offsets in the header; all integers are little-endian. */
enum {
    OFF_MAGIC = 0,
    OFF_LENGTH = 4,
    OFF_CRC = 8, // of everything behind it, up to the record's end
    OFF_CHECKED = 12,
    OFF_VERSION = 12,
    OFF_KIND = 14,
    OFF_FLAGS = 15,
    OFF_JOB_ID = 16,
    OFF_RESTARTS = 20,
    OFF_SUBMIT = 24,
    OFF_START = 32,
    OFF_END = 40,
    OFF_SUSPENDED = 48,
    OFF_STATE = 56,
    OFF_WAIT_STATUS = 60,
    OFF_USER = 64,
    OFF_LOST = 68,
    OFF_WRITTEN = 72,
    OFF_NAME_LEN = 80,
    OFF_COMMENT_LEN = 82,
    OFF_CLUSTER_LEN = 84,
    OFF_RESERVED = 86, // 0
};

static const uint8_t magic[4] = {'D', 'S', 'Q', 'R'};

static void put_le(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

uint32_t record_crc32c(const void *data, size_t len)
{
    /* One nibble at a time: 64 bytes of table, about a microsecond for a record. */
    static const uint32_t table[16] = {0x00000000,
                                       0x105ec76f,
                                       0x20bd8ede,
                                       0x30e349b1,
                                       0x417b1dbc,
                                       0x5125dad3,
                                       0x61c69362,
                                       0x7198540d,
                                       0x82f63b78,
                                       0x92a8fc17,
                                       0xa24bb5a6,
                                       0xb21572c9,
                                       0xc38d26c4,
                                       0xd3d3e1ab,
                                       0xe330a81a,
                                       0xf36e6f75};
    const uint8_t *p = data;
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

/* Copy at most `max` bytes and a NUL. Returns whether something was cut. */
static bool copy_text(char *out, size_t max, const char *text)
{
    size_t len = text ? strnlen(text, max + 1) : 0;
    bool cut = len > max;
    if (cut) len = max;
    if (len) memcpy(out, text, len);
    out[len] = '\0';
    return cut;
}

static void set_text(struct record *r, char *out, size_t max, const char *text, uint8_t cut_flag)
{
    r->flags &= (uint8_t)~cut_flag;
    if (copy_text(out, max, text)) r->flags |= cut_flag;
}

void record_set_name(struct record *r, const char *text)
{
    set_text(r, r->name, RECORD_NAME_MAX, text, RECORD_CUT_NAME);
}

void record_set_comment(struct record *r, const char *text)
{
    set_text(r, r->comment, RECORD_COMMENT_MAX, text, RECORD_CUT_COMMENT);
}

void record_set_cluster(struct record *r, const char *text)
{
    set_text(r, r->cluster, RECORD_CLUSTER_MAX, text, RECORD_CUT_CLUSTER);
}

size_t record_encode(const struct record *r, uint8_t *out)
{
    size_t name = strnlen(r->name, RECORD_NAME_MAX);
    size_t comment = strnlen(r->comment, RECORD_COMMENT_MAX);
    size_t cluster = strnlen(r->cluster, RECORD_CLUSTER_MAX);
    size_t len = RECORD_HEADER_LEN + name + comment + cluster;

    memcpy(out + OFF_MAGIC, magic, sizeof(magic));
    put_le(out + OFF_LENGTH, len, 4);
    put_le(out + OFF_VERSION, RECORD_VERSION, 2);
    out[OFF_KIND] = r->kind;
    out[OFF_FLAGS] = r->flags;
    put_le(out + OFF_JOB_ID, r->job_id, 4);
    put_le(out + OFF_RESTARTS, r->restart_count, 4);
    put_le(out + OFF_SUBMIT, (uint64_t)r->submit_s, 8);
    put_le(out + OFF_START, (uint64_t)r->start_s, 8);
    put_le(out + OFF_END, (uint64_t)r->end_s, 8);
    put_le(out + OFF_SUSPENDED, (uint64_t)r->suspended_s, 8);
    put_le(out + OFF_STATE, r->job_state, 4);
    put_le(out + OFF_WAIT_STATUS, r->wait_status, 4);
    put_le(out + OFF_USER, r->user_id, 4);
    put_le(out + OFF_LOST, r->lost_before, 4);
    put_le(out + OFF_WRITTEN, (uint64_t)r->written_s, 8);
    put_le(out + OFF_NAME_LEN, name, 2);
    put_le(out + OFF_COMMENT_LEN, comment, 2);
    put_le(out + OFF_CLUSTER_LEN, cluster, 2);
    put_le(out + OFF_RESERVED, 0, 2);

    uint8_t *texts = out + RECORD_HEADER_LEN;
    memcpy(texts, r->name, name);
    memcpy(texts + name, r->comment, comment);
    memcpy(texts + name + comment, r->cluster, cluster);

    put_le(out + OFF_CRC, record_crc32c(out + OFF_CHECKED, len - OFF_CHECKED), 4);
    return len;
}

/* The record's length if data (of at least RECORD_HEADER_LEN bytes) looks like a header, else 0. */
static size_t header_length(const uint8_t *data)
{
    uint64_t len = get_le(data + OFF_LENGTH, 4);
    uint64_t name = get_le(data + OFF_NAME_LEN, 2);
    uint64_t comment = get_le(data + OFF_COMMENT_LEN, 2);
    uint64_t cluster = get_le(data + OFF_CLUSTER_LEN, 2);

    if (get_le(data + OFF_VERSION, 2) != RECORD_VERSION) return 0;
    if (name > RECORD_NAME_MAX || comment > RECORD_COMMENT_MAX || cluster > RECORD_CLUSTER_MAX)
        return 0;
    return len == RECORD_HEADER_LEN + name + comment + cluster ? (size_t)len : 0;
}

static void get_text(char *out, const uint8_t **from, size_t len)
{
    memcpy(out, *from, len);
    out[len] = '\0';
    *from += len;
}

static void read_fields(struct record *r, const uint8_t *data)
{
    *r = (struct record){
        .kind = data[OFF_KIND],
        .flags = data[OFF_FLAGS],
        .job_id = (uint32_t)get_le(data + OFF_JOB_ID, 4),
        .restart_count = (uint32_t)get_le(data + OFF_RESTARTS, 4),
        .submit_s = (int64_t)get_le(data + OFF_SUBMIT, 8),
        .start_s = (int64_t)get_le(data + OFF_START, 8),
        .end_s = (int64_t)get_le(data + OFF_END, 8),
        .suspended_s = (int64_t)get_le(data + OFF_SUSPENDED, 8),
        .job_state = (uint32_t)get_le(data + OFF_STATE, 4),
        .wait_status = (uint32_t)get_le(data + OFF_WAIT_STATUS, 4),
        .user_id = (uint32_t)get_le(data + OFF_USER, 4),
        .lost_before = (uint32_t)get_le(data + OFF_LOST, 4),
        .written_s = (int64_t)get_le(data + OFF_WRITTEN, 8),
    };
    const uint8_t *texts = data + RECORD_HEADER_LEN;
    get_text(r->name, &texts, get_le(data + OFF_NAME_LEN, 2));
    get_text(r->comment, &texts, get_le(data + OFF_COMMENT_LEN, 2));
    get_text(r->cluster, &texts, get_le(data + OFF_CLUSTER_LEN, 2));
}

int record_decode(struct record *r, const uint8_t *data, size_t len, uint32_t *crc)
{
    size_t seen = len < sizeof(magic) ? len : sizeof(magic);
    if (memcmp(data, magic, seen) != 0) return -1;
    if (len < RECORD_HEADER_LEN) return 0;

    size_t want = header_length(data);
    if (want == 0) return -1;
    if (len < want) return 0;

    uint32_t sum = (uint32_t)get_le(data + OFF_CRC, 4);
    if (sum != record_crc32c(data + OFF_CHECKED, want - OFF_CHECKED)) return -1;
    read_fields(r, data);
    if (crc) *crc = sum;
    return (int)want;
}

size_t record_find(const uint8_t *data, size_t from, size_t len, bool or_partial)
{
    struct record r;
    for (; from < len; from++) {
        const uint8_t *hit = memchr(data + from, magic[0], len - from);
        if (!hit) return len;
        from = (size_t)(hit - data);
        int rc = record_decode(&r, hit, len - from, NULL);
        if (rc > 0 || (rc == 0 && or_partial)) return from;
    }
    return len;
}
