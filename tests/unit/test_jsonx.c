/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>

#include "agent/util/jsonx.h"

static int parse(const char *text, struct json_object **o, struct error *err)
{
    return jsonx_parse(text, strlen(text), 1000, o, err);
}

static void test_good(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}",
                                        "[]",
                                        " [1, 2] \r\n\t",
                                        "\"x\"",
                                        "12",
                                        "-1",
                                        "1.5e3",
                                        "true",
                                        "{\"a\":{\"b\":[null]}}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_object *o = NULL;
        struct error err = {0};
        if (parse(texts[i], &o, &err) < 0) fail_msg("%s: %s", texts[i], err.text);
        assert_non_null(o);
        json_object_put(o);
    }
    struct json_object *o = json_object_new_int(1), *one = o;
    assert_int_equal(parse("null", &o, NULL), 0);
    json_object_put(one);
    assert_null(o);
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "{",
                                        "{\"a\":1",
                                        "[1,]",
                                        "{} {}",
                                        "{}x",
                                        "12 13",
                                        "nul",
                                        "'a'",
                                        "{a:1}",
                                        "\"\x80\"",
                                        "<html>",
                                        "// c\n1"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_object *o = NULL;
        struct error err = {0};
        int rc = parse(texts[i], &o, &err);
        if (rc != ERR_PROTO) fail_msg("'%s': %d", texts[i], rc);
        assert_null(o);
        assert_true(err.text[0] != '\0');
    }
    struct json_object *o = NULL;
    assert_int_equal(jsonx_parse("{}\0", 3, 1000, &o, NULL), ERR_PROTO); // a NUL behind it
    assert_null(o);
}

static void test_bounds(void **state)
{
    (void)state;
    struct json_object *o = NULL;
    char deep[2 * 40 + 1];
    assert_int_equal(jsonx_parse("[1]", 3, 2, &o, NULL), ERR_LIMIT);
    assert_int_equal(jsonx_parse("[1]", 3, 3, &o, NULL), 0);
    json_object_put(o);
    memset(deep, '[', 40);
    memset(deep + 40, ']', 40);
    assert_int_equal(jsonx_parse(deep, 80, 100, &o, NULL), ERR_PROTO);
    assert_int_equal(jsonx_parse(deep + 20, 40, 100, &o, NULL), 0);
    json_object_put(o);
}

static void test_fields(void **state)
{
    (void)state;
    struct json_object *o, *v;
    const char *text = NULL;
    bool b = false;
    int64_t i = 0;
    uint64_t u = 0;
    assert_int_equal(
        parse("{\"s\":\"x\",\"b\":true,\"i\":-5,\"u\":7,\"o\":{\"k\":1},\"a\":[1]}", &o, NULL), 0);
    assert_int_equal(jsonx_get_string(o, "s", &text, NULL), 0);
    assert_string_equal(text, "x");
    assert_int_equal(jsonx_get_bool(o, "b", &b, NULL), 0);
    assert_true(b);
    assert_int_equal(jsonx_get_i64(o, "i", &i, NULL), 0);
    assert_int_equal(i, -5);
    assert_int_equal(jsonx_get_u64(o, "u", &u, NULL), 0);
    assert_int_equal(u, 7);
    assert_int_equal(jsonx_get_object(o, "o", &v, NULL), 0);
    assert_non_null(jsonx_find(v, "k"));
    assert_int_equal(jsonx_get_array(o, "a", &v, NULL), 0);
    assert_int_equal(json_object_array_length(v), 1);
    json_object_put(o);
}

static void test_wrong_fields_are_named(void **state)
{
    (void)state;
    struct json_object *o, *v;
    struct error err = {0};
    const char *text = "before";
    bool b;
    int64_t i;
    uint64_t u;
    const char *json = "{\"s\":1,\"b\":\"true\",\"i\":1.0,\"u\":-1,\"big\":9223372036854775808,"
                       "\"a\":{},\"n\":null,\"z\":\"a\\u0000b\"}";
    assert_int_equal(parse(json, &o, NULL), 0);
    assert_int_equal(jsonx_get_string(o, "gone", &text, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "'gone' is missing"));
    assert_int_equal(jsonx_get_string(o, "s", &text, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "'s'"));
    assert_int_equal(jsonx_get_string(o, "n", &text, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "null"));
    assert_int_equal(jsonx_get_string(o, "z", &text, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "NUL"));
    assert_string_equal(text, "before"); // untouched
    assert_int_equal(jsonx_get_bool(o, "b", &b, &err), ERR_PROTO);
    assert_int_equal(jsonx_get_i64(o, "i", &i, &err), ERR_PROTO);
    assert_int_equal(jsonx_get_i64(o, "big", &i, &err), ERR_PROTO);
    assert_int_equal(jsonx_get_u64(o, "u", &u, &err), ERR_PROTO);
    assert_non_null(strstr(err.text, "negative"));
    assert_int_equal(jsonx_get_array(o, "a", &v, &err), ERR_PROTO);
    assert_int_equal(jsonx_get_object(o, "s", &v, &err), ERR_PROTO);
    assert_int_equal(jsonx_get_object(NULL, "s", &v, &err), ERR_PROTO);
    assert_null(jsonx_find(o, "n"));
    assert_null(jsonx_find(NULL, "n"));
    json_object_put(o);

    // A number beyond 64 bits: json-c refuses the text from 0.18 on, and cuts the number before.
    int rc = parse("{\"huge\":99999999999999999999999}", &o, NULL);
    if (rc == 0) {
        rc = jsonx_get_i64(o, "huge", &i, &err);
        json_object_put(o);
    }
    assert_int_equal(rc, ERR_PROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_wrong_fields_are_named),
    };
    return cmocka_run_group_tests_name("jsonx", tests, NULL, NULL);
}
