/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/chain/abi.h"

#include "tests/unit/chain_test.h"
#include "tests/unit/vectors.h"

#define WORD(last_digits) "00000000000000000000000000000000000000000000000000000000" last_digits
#define ONES              "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

/* A decoder on data of its own. */
struct fixture {
    struct bytes bytes;
    struct abi_decoder decoder;
    struct abi_frame top;
    struct error err;
};

static void begin(struct fixture *x, const char *hex)
{
    *x = (struct fixture){.bytes = unhex(hex)};
    abi_decode(&x->decoder, &x->top, x->bytes.data, x->bytes.len, &x->err);
}

/* Everything that fails says so with ERR_PROTO, names what was read, and sticks. */
static void end_failed(struct fixture *x, const char *why)
{
    assert_int_equal(x->decoder.rc, ERR_PROTO);
    assert_int_equal(x->err.code, ERR_PROTO);
    if (!strstr(x->err.text, why)) fail_msg("\"%s\" is not in \"%s\"", why, x->err.text);
    assert_int_equal(abi_skip(&x->top, "more"), ERR_PROTO);
    free(x->bytes.data);
}

static void end_good(struct fixture *x)
{
    assert_int_equal(x->decoder.rc, 0);
    assert_string_equal(x->err.text, "");
    free(x->bytes.data);
}

static void static_values(void **state)
{
    (void)state;
    struct fixture x;
    uint64_t u = 1;
    uint8_t small = 1;
    int64_t i = 1;
    bool yes = false, no = true;
    struct u256 big;
    struct eth_address a;
    struct eth_hash h;
    char op[2];
    begin(&x,
          "0x000000000000000000000000000000000000000000000000ffffffffffffffff" WORD("000000ff")
              ONES WORD("00000001") WORD("00000000") ONES
          "0000000000000000000000001111111111111111111111111111111111111111"
          "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
          "3d3d000000000000000000000000000000000000000000000000000000000000");
    (void)abi_get_u64(&x.top, "u", &u);
    (void)abi_get_u8(&x.top, "small", &small);
    (void)abi_get_i64(&x.top, "i", &i);
    (void)abi_get_bool(&x.top, "yes", &yes);
    (void)abi_get_bool(&x.top, "no", &no);
    (void)abi_get_u256(&x.top, "big", &big);
    (void)abi_get_address(&x.top, "a", &a);
    (void)abi_get_bytes32(&x.top, "h", &h);
    assert_int_equal(abi_get_fixed(&x.top, "op", op, sizeof(op)), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(small, 255);
    assert_int_equal(i, -1);
    assert_true(yes);
    assert_false(no);
    assert_true(big.w[0] == UINT64_MAX && big.w[3] == UINT64_MAX);
    assert_hex(a.b, sizeof(a.b), "0x1111111111111111111111111111111111111111");
    assert_hex(
        h.b, sizeof(h.b), "0x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    assert_memory_equal(op, "==", 2);
    end_good(&x);
}

static void signed_extremes(void **state)
{
    (void)state;
    struct fixture x;
    int64_t low = 0, high = 0, wrong = 5;
    begin(&x,
          "0xffffffffffffffffffffffffffffffffffffffffffffffff8000000000000000"
          "0000000000000000000000000000000000000000000000007fffffffffffffff"
          "0000000000000000000000000000000000000000000000008000000000000000");
    assert_int_equal(abi_get_i64(&x.top, "low", &low), 0);
    assert_int_equal(abi_get_i64(&x.top, "high", &high), 0);
    assert_true(low == INT64_MIN && high == INT64_MAX);
    assert_int_equal(abi_get_i64(&x.top, "wrong", &wrong), ERR_PROTO);
    assert_int_equal(wrong, 5);
    end_failed(&x, "wrong");
}

/* Each kind of value refuses bits that it does not have. */
static void values_out_of_range(void **state)
{
    (void)state;
    struct fixture x;
    uint64_t u = 7;
    uint8_t small = 7;
    bool b = true;
    struct eth_address a = {{7}};
    char op[2] = "ab";

    begin(&x, "0x0000000000000000000000000000000000000000000000010000000000000000");
    assert_int_equal(abi_get_u64(&x.top, "u", &u), ERR_PROTO);
    end_failed(&x, "u: number above");
    begin(&x, "0x" WORD("00000100"));
    assert_int_equal(abi_get_u8(&x.top, "small", &small), ERR_PROTO);
    end_failed(&x, "small: number above 255");
    begin(&x, "0x" WORD("00000002"));
    assert_int_equal(abi_get_bool(&x.top, "b", &b), ERR_PROTO);
    end_failed(&x, "b: number above 1");
    begin(&x, "0x0000000000000000000000011111111111111111111111111111111111111111");
    assert_int_equal(abi_get_address(&x.top, "a", &a), ERR_PROTO);
    end_failed(&x, "a: no address");
    begin(&x, "0x3d3d010000000000000000000000000000000000000000000000000000000000");
    assert_int_equal(abi_get_fixed(&x.top, "op", op, sizeof(op)), ERR_PROTO);
    end_failed(&x, "op: more than 2 bytes");
    assert_int_equal(u, 7);
    assert_int_equal(small, 7);
    assert_true(b);
    assert_int_equal(a.b[0], 7);
    assert_memory_equal(op, "ab", 2);
}

static void data_too_short(void **state)
{
    (void)state;
    static const char *const texts[] = {"0x", "0x00", "0x000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct fixture x;
        struct u256 v;
        begin(&x, texts[i]);
        assert_int_equal(abi_get_u256(&x.top, "v", &v), ERR_PROTO);
        end_failed(&x, "v: the data end");
    }
}

/* What an offset or a length may say, and what is wrong with it. */
static void hostile_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *data, *why;
    } bad[] = {
        {"0x" ONES, "number above"},
        {"0x000000000000000000000000000000000000000000000000ffffffffffffffe0", "offset"},
        {"0x" WORD("00000000"), "offset 0 is outside"}, // itself
        {"0x" WORD("0000001f") WORD("00000000"), "offset 31 is outside"},
        {"0x" WORD("00000021"), "offset 33 is outside"},
        {"0x" WORD("00000020"), "the data end"},
        {"0x" WORD("00000021") WORD("00000000"), "the data end"},
        {"0x" WORD("00000020") WORD("00000001"), "length 1, but only 0"},
        {"0x" WORD("00000020") WORD("00000021") ONES, "length 33, but only 32"},
        {"0x" WORD("00000020") ONES ONES, "number above"},
        {"0x" WORD(
             "00000020") "000000000000000000000000000000000000000000000000ffffffffffffffff" ONES,
         "but only 32"},
        {"0x" WORD("00000020") WORD("00000011") ONES, "at most 16"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fixture x;
        const uint8_t *data = NULL;
        size_t len = 99;
        begin(&x, bad[i].data);
        assert_int_equal(abi_get_bytes(&x.top, "text", 16, &data, &len), ERR_PROTO);
        assert_null(data);
        assert_int_equal(len, 99);
        end_failed(&x, bad[i].why);
    }
}

static void strings(void **state)
{
    (void)state;
    struct fixture x;
    char text[4] = "old";
    begin(&x, "0x" WORD("00000020") WORD("00000003") "616263" WORD("00000000") "0000000000");
    assert_int_equal(abi_get_string(&x.top, "text", text, sizeof(text)), 0);
    assert_string_equal(text, "abc");
    end_good(&x);
    // Without its padding: it is there in full, and that is enough.
    begin(&x, "0x" WORD("00000020") WORD("00000003") "646566");
    assert_int_equal(abi_get_string(&x.top, "text", text, sizeof(text)), 0);
    assert_string_equal(text, "def");
    end_good(&x);
    begin(&x, "0x" WORD("00000020") WORD("00000000"));
    assert_int_equal(abi_get_string(&x.top, "text", text, sizeof(text)), 0);
    assert_string_equal(text, "");
    end_good(&x);
    begin(&x, "0x" WORD("00000020") WORD("00000004") "61626364");
    assert_int_equal(abi_get_string(&x.top, "text", text, sizeof(text)), ERR_PROTO);
    end_failed(&x, "text: length 4, at most 3");
    begin(&x, "0x" WORD("00000020") WORD("00000003") "610063");
    assert_int_equal(abi_get_string(&x.top, "text", text, sizeof(text)), ERR_PROTO);
    end_failed(&x, "text: zero byte");
}

static void arrays(void **state)
{
    (void)state;
    struct fixture x;
    struct abi_frame list;
    size_t count = 9;
    uint64_t v = 0;
    begin(&x, "0x" WORD("00000020") WORD("00000002") WORD("0000000a") WORD("0000000b"));
    assert_int_equal(abi_get_array(&x.top, "list", 2, &count, &list), 0);
    assert_int_equal(count, 2);
    assert_int_equal(abi_get_u64(&list, "v", &v), 0);
    assert_int_equal(v, 10);
    assert_int_equal(abi_get_u64(&list, "v", &v), 0);
    assert_int_equal(v, 11);
    end_good(&x);
    begin(&x, "0x" WORD("00000020") WORD("00000002") WORD("0000000a") WORD("0000000b"));
    assert_int_equal(abi_get_array(&x.top, "list", 1, &count, &list), ERR_PROTO);
    end_failed(&x, "list: length 2, at most 1");
    // More elements than could be there: refused before anyone loops or allocates.
    begin(&x, "0x" WORD("00000020") WORD("00000002") WORD("0000000a") "00");
    assert_int_equal(abi_get_array(&x.top, "list", SIZE_MAX, &count, &list), ERR_PROTO);
    end_failed(&x, "list: length 2, but only 33");
}

/* Ten thousand elements that are all the same long text: the work is bounded by the data's size. */
static void overlapping(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    struct buf b = BUF_INIT(1024 * 1024);
    struct abi_writer top = abi_encode(&b, 1);
    struct abi_writer list = abi_put_array(&top, COUNT, 1);
    for (size_t i = 0; i < COUNT; i++)
        abi_put_u64(&list, (uint64_t)COUNT * ABI_WORD);
    struct abi_writer text = abi_encode(&b, 1);
    abi_put_u64(&text, 100000);
    assert_non_null(buf_reserve(&b, 100000));

    struct abi_decoder d;
    struct abi_frame frame, elements;
    struct error err = {0};
    size_t count, read = 0;
    abi_decode(&d, &frame, b.data, b.len, &err);
    assert_int_equal(abi_get_array(&frame, "list", SIZE_MAX, &count, &elements), 0);
    assert_int_equal(count, COUNT);
    const uint8_t *data;
    size_t len;
    while (read < count && abi_get_bytes(&elements, "text", SIZE_MAX, &data, &len) == 0)
        read++;
    assert_in_range(read, 1, 5);
    assert_int_equal(err.code, ERR_PROTO);
    assert_non_null(strstr(err.text, "overlap"));
    buf_free(&b);
}

/* register((uint64,uint64[],uint64[],uint64[]),(uint256,uint256,uint256),(string,string)[]) */
static void put_u64_array(struct abi_writer *w, const uint64_t *values, size_t count)
{
    struct abi_writer list = abi_put_array(w, count, 1);
    for (size_t i = 0; i < count; i++)
        abi_put_u64(&list, values[i]);
}

static void put_label(struct abi_writer *w, const char *key, const char *value)
{
    struct abi_writer label = abi_put_tuple(w, 2);
    abi_put_bytes(&label, key, strlen(key));
    abi_put_bytes(&label, value, strlen(value));
}

static void nested_writing(void **state)
{
    (void)state;
    static const uint64_t gpus[] = {4, 0}, cpus[] = {64, 32}, mem[] = {512000, 128000};
    const struct u256 largest = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    struct buf b = BUF_INIT(4096);
    uint8_t selector[ABI_SELECTOR];
    abi_selector("register((uint64,uint64[],uint64[],uint64[]),(uint256,uint256,uint256),"
                 "(string,string)[])",
                 selector);
    assert_int_equal(buf_put(&b, selector, sizeof(selector)), 0);
    struct abi_writer top = abi_encode(&b, 5);
    struct abi_writer hardware = abi_put_tuple(&top, 4);
    abi_put_u64(&hardware, 2);
    put_u64_array(&hardware, gpus, 2);
    put_u64_array(&hardware, cpus, 2);
    put_u64_array(&hardware, mem, 2);
    abi_put_u64(&top, 8500000000000); // the prices are static: they lie in the head
    abi_put_u256(&top, largest);
    abi_put_u64(&top, 0);
    struct abi_writer labels = abi_put_array(&top, 2, 1);
    put_label(&labels, "os", "linux");
    put_label(&labels, "region", "a-value-that-needs-more-than-one-word");
    assert_int_equal(buf_error(&b), 0);
    assert_hex(b.data, b.len, VECTOR_CALL_REGISTER);
    buf_free(&b);
}

/* What is written is read back; also values that no call of ours has. */
static void there_and_back(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(4096);
    const struct eth_address address = address_of("0x1111111111111111111111111111111111111111");
    struct abi_writer w = abi_encode(&b, 5);
    abi_put_i64(&w, -2);
    abi_put_bool(&w, true);
    abi_put_address(&w, &address);
    abi_put_bytes(&w, "12345678901234567890123456789012", 32);
    struct abi_writer inner = abi_put_tuple(&w, 1);
    abi_put_bytes(&inner, NULL, 0);
    assert_int_equal(buf_error(&b), 0);
    assert_int_equal(b.len % ABI_WORD, 0);

    struct abi_decoder d;
    struct abi_frame f, tuple;
    int64_t i = 0;
    bool yes = false;
    struct eth_address a;
    char text[33], empty[1] = {'x'};
    abi_decode(&d, &f, b.data, b.len, NULL);
    (void)abi_get_i64(&f, "i", &i);
    (void)abi_get_bool(&f, "yes", &yes);
    (void)abi_get_address(&f, "a", &a);
    (void)abi_get_string(&f, "text", text, sizeof(text));
    (void)abi_get_tuple(&f, "tuple", &tuple);
    assert_int_equal(abi_get_string(&tuple, "empty", empty, sizeof(empty)), 0);
    assert_int_equal(d.words_left, 0); // an honest encoding is read exactly once
    assert_int_equal(i, -2);
    assert_true(yes);
    assert_memory_equal(&a, &address, sizeof(a));
    assert_string_equal(text, "12345678901234567890123456789012");
    assert_string_equal(empty, "");
    buf_free(&b);
}

/* A buffer that is full stops the writer without harm, wherever it happens. */
static void full_buffer(void **state)
{
    (void)state;
    for (size_t room = 0; room <= 9 * ABI_WORD; room++) {
        struct buf b = BUF_INIT(room);
        struct abi_writer w = abi_encode(&b, 3);
        abi_put_u64(&w, 1);
        abi_put_bytes(&w, "text", 4);
        struct abi_writer list = abi_put_array(&w, 2, 1);
        abi_put_u64(&list, 1);
        abi_put_u64(&list, 2);
        assert_int_equal(buf_error(&b), room < 8 * ABI_WORD ? ERR_LIMIT : 0);
        buf_free(&b);
    }
    struct buf b = BUF_INIT(1024);
    struct abi_writer w = abi_encode(&b, SIZE_MAX / 2);
    abi_put_u64(&w, 1);
    assert_int_equal(buf_error(&b), ERR_LIMIT);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_values),
        cmocka_unit_test(signed_extremes),
        cmocka_unit_test(values_out_of_range),
        cmocka_unit_test(data_too_short),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(strings),
        cmocka_unit_test(arrays),
        cmocka_unit_test(overlapping),
        cmocka_unit_test(nested_writing),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(full_buffer),
    };
    return cmocka_run_group_tests_name("abi", tests, NULL, NULL);
}
