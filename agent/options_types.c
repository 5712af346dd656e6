/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What each type of option accepts, how it is kept and how it is written. */
#include <stdlib.h>
#include <string.h>

#include "agent/options_private.h"
#include "agent/util/hex.h"
#include "agent/util/parse.h"

static const char name_chars[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

/* ------------------------------------------------------------------------------------- texts */

static int text_replace(char **member, const char *text)
{
    char *copy = strdup(text);
    if (!copy) return ERR_NOMEM;
    free(*member);
    *member = copy;
    return 0;
}

static void text_format(const void *member, struct buf *out)
{
    const char *text = *(char *const *)member;
    (void)buf_puts(out, text ? text : "");
}

static void text_clear(void *member)
{
    free(*(char **)member);
    *(char **)member = NULL;
}

static bool text_is_set(const void *member)
{
    const char *text = *(char *const *)member;
    return text && *text;
}

/* No control bytes: a value ends up in log lines and on command lines. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) return false;
    return true;
}

static int string_parse(const struct option *opt, const char *text, void *member, bool first)
{
    if (strlen(text) > opt->max || !is_plain(text)) return ERR_INVALID;
    return text_replace(member, text);
}

static void string_expected(const struct option *opt, struct buf *out)
{
    (void)buf_putf(out, "a text of at most %llu bytes, one line", (unsigned long long)opt->max);
}

static void file_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "the path of a file");
}

/*
 * It looks like a path, so that a key given in its place is found out (and not shown): neither a
 * hexadecimal nor a base64 key begins so.
 */
static int secret_file_parse(const struct option *opt, const char *text, void *member, bool first)
{
    if (*text != '/' && strncmp(text, "./", 2) != 0 && strncmp(text, "../", 3) != 0)
        return ERR_INVALID;
    return string_parse(opt, text, member, first);
}

static void secret_file_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "the path of a file, that begins with / or ./");
}

static bool is_name(const char *text)
{
    return *text != '-' && text[strspn(text, name_chars)] == '\0';
}

static int name_parse(const struct option *opt, const char *text, void *member, bool first)
{
    if (strlen(text) > opt->max || !is_name(text)) return ERR_INVALID;
    return text_replace(member, text);
}

static void name_expected(const struct option *opt, struct buf *out)
{
    (void)buf_putf(out,
                   "a name of at most %llu letters, digits, '_', '.' and '-', that does not begin "
                   "with '-'",
                   (unsigned long long)opt->max);
}

/* A name in which {customer} may stand. */
static int user_template_parse(const struct option *opt, const char *text, void *member, bool first)
{
    static const char customer[] = "{customer}";
    if (strlen(text) > opt->max || *text == '-') return ERR_INVALID;
    for (const char *p = text; *p;) {
        size_t n = strspn(p, name_chars);
        if (n == 0) n = strncmp(p, customer, sizeof(customer) - 1) ? 0 : sizeof(customer) - 1;
        if (n == 0) return ERR_INVALID;
        p += n;
    }
    return text_replace(member, text);
}

static void user_template_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "a user name of letters, digits, '_', '.', '-' and {customer}");
}

/* Such a path goes into a command line on the login node: nothing in it needs quoting. */
static int abs_path_parse(const struct option *opt, const char *text, void *member, bool first)
{
    if (strlen(text) > opt->max || *text != '/') return ERR_INVALID;
    for (const char *p = text; *p; p++)
        if (!strchr(name_chars, *p) && !strchr("/+@:,=%", *p)) return ERR_INVALID;
    return text_replace(member, text);
}

static void abs_path_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "an absolute path of letters, digits and any of /_.-+@:,=%");
}

static int listen_parse(const struct option *opt, const char *text, void *member, bool first)
{
    struct hostport hp;
    if (parse_hostport(text, &hp) < 0 || !is_plain(text)) return ERR_INVALID;
    return text_replace(member, text);
}

static void listen_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "host:port, :port, or [IPv6]:port");
}

static int hostport_parse(const struct option *opt, const char *text, void *member, bool first)
{
    struct hostport hp;
    if (parse_hostport(text, &hp) < 0 || !is_plain(text)) return ERR_INVALID;
    if (!hp.host[0] || hp.port == 0) return ERR_INVALID;
    return text_replace(member, text);
}

static void hostport_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "host:port or [IPv6]:port, the port from 1 to 65535");
}

/* Below 2^256: so many digits, and if as many as the maximum, not above it. */
static int decimal_parse(const struct option *opt, const char *text, void *member, bool first)
{
    static const char max[] =
        "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    if (text[strspn(text, "0123456789")] != '\0') return ERR_INVALID;
    while (text[0] == '0' && text[1])
        text++;
    size_t len = strlen(text);
    if (len > sizeof(max) - 1 || (len == sizeof(max) - 1 && strcmp(text, max) > 0))
        return ERR_INVALID;
    return text_replace(member, text);
}

static void decimal_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "a decimal number below 2^256, without sign, point or exponent");
}

/* ------------------------------------------------------------------------------------- URLs */

static int rest_url_parse(const struct option *opt, const char *text, void *member, bool first)
{
    if (strlen(text) > opt->max || !option_is_rest_url(text)) return ERR_INVALID;
    return text_replace(member, text);
}

static void rest_url_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "http://host:port, https://host:port or unix:/path");
}

static int ws_url_parse(const struct option *opt, const char *text, void *member, bool first)
{
    if (strlen(text) > opt->max || !option_is_url(text, "ws") || strchr(text, '@'))
        return ERR_INVALID;
    return text_replace(member, text);
}

static void ws_url_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "a URL, ws://... or wss://...");
}

/* ------------------------------------------------------------------------------------- lists */

void option_list_clear(struct option_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct option_list){0};
}

static void list_clear(void *member)
{
    option_list_clear(member);
}

int option_list_add(struct option_list *list, const char *text, size_t len)
{
    char **items = realloc(list->items, (list->count + 2) * sizeof(*items));
    if (!items) return ERR_NOMEM;
    list->items = items;
    items[list->count] = strndup(text, len);
    if (!items[list->count]) return ERR_NOMEM;
    items[++list->count] = NULL;
    return 0;
}

static void list_format(const void *member, struct buf *out)
{
    const struct option_list *list = member;
    for (size_t i = 0; i < list->count; i++)
        (void)buf_putf(out, "%s%s", i ? "," : "", list->items[i]);
}

static bool list_is_set(const void *member)
{
    return ((const struct option_list *)member)->count > 0;
}

/* The list's items so far (none if `first`) and the comma-separated ones of `text`. */
static int list_parse(const struct option *opt,
                      const char *text,
                      struct option_list *member,
                      bool first,
                      bool (*good)(const struct option_list *list, const char *item))
{
    struct option_list list = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && !first && i < member->count; i++)
        rc = option_list_add(&list, member->items[i], strlen(member->items[i]));
    for (const char *p = text; rc == 0; p++) {
        size_t len = strcspn(p, ",");
        rc = option_list_add(&list, p, len);
        if (rc == 0) {
            list.count--; // compared with those before it
            bool ok = good(&list, list.items[list.count]);
            list.count++;
            if (!ok || list.count > opt->max) rc = ERR_INVALID;
        }
        p += len;
        if (!*p) break;
    }
    if (rc < 0) {
        option_list_clear(&list);
        return rc;
    }
    option_list_clear(member);
    *member = list;
    return 0;
}

static bool good_endpoint(const struct option_list *list, const char *item)
{
    return option_is_url(item, "http");
}

static int urls_parse(const struct option *opt, const char *text, void *member, bool first)
{
    return list_parse(opt, text, member, true, good_endpoint);
}

static void urls_expected(const struct option *opt, struct buf *out)
{
    (void)buf_putf(out,
                   "a URL, http://... or https://..., or at most %llu of them, comma-separated",
                   (unsigned long long)opt->max);
}

/* One label a key: the contract keeps them as a list, and whoever reads it takes either. */
static bool good_label(const struct option_list *list, const char *item)
{
    size_t key = strspn(item, name_chars);
    if (key == 0 || item[key] != '=' || !is_plain(item) || strlen(item) > 255) return false;
    for (size_t i = 0; i < list->count; i++)
        if (strncmp(list->items[i], item, key + 1) == 0) return false;
    return true;
}

static int labels_parse(const struct option *opt, const char *text, void *member, bool first)
{
    return list_parse(opt, text, member, first, good_label);
}

static void labels_expected(const struct option *opt, struct buf *out)
{
    (void)buf_putf(out,
                   "key=value, the key of letters, digits, '_', '.' and '-', each key once, at "
                   "most %llu in all",
                   (unsigned long long)opt->max);
}

/* ------------------------------------------------------------------------------------- numbers */

static int bool_parse(const struct option *opt, const char *text, void *member, bool first)
{
    return parse_bool(text, member);
}

static void bool_format(const void *member, struct buf *out)
{
    (void)buf_puts(out, *(const bool *)member ? "true" : "false");
}

static void bool_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "true or false");
}

static int u64_parse(const struct option *opt, const char *text, void *member, bool first)
{
    uint64_t v;
    if (parse_u64(text, opt->max, &v) < 0 || v < opt->min) return ERR_INVALID;
    *(uint64_t *)member = v;
    return 0;
}

static void u64_format(const void *member, struct buf *out)
{
    (void)buf_putf(out, "%llu", (unsigned long long)*(const uint64_t *)member);
}

static void u64_expected(const struct option *opt, struct buf *out)
{
    (void)buf_putf(out,
                   "a number from %llu to %llu",
                   (unsigned long long)opt->min,
                   (unsigned long long)opt->max);
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* From the largest to 1. */
static const struct unit size_units[] = {
    {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}};
static const struct unit duration_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

/* In the largest unit that divides it. */
static void put_units(struct buf *out, uint64_t v, const struct unit *unit)
{
    while (unit->factor > 1 && (v == 0 || v % unit->factor))
        unit++;
    (void)buf_putf(out, "%llu%s", (unsigned long long)(v / unit->factor), unit->name);
}

static int size_parse(const struct option *opt, const char *text, void *member, bool first)
{
    char digits[21]; // those of UINT64_MAX
    size_t len = strspn(text, "0123456789");
    if (len >= sizeof(digits)) return ERR_INVALID;
    memcpy(digits, text, len);
    digits[len] = '\0';
    for (size_t i = 0; i < sizeof(size_units) / sizeof(size_units[0]); i++) {
        uint64_t v;
        if (strcmp(text + len, size_units[i].name) != 0) continue;
        if (parse_u64(digits, UINT64_MAX, &v) < 0 ||
            __builtin_mul_overflow(v, size_units[i].factor, &v) || v < opt->min || v > opt->max)
            return ERR_INVALID;
        *(uint64_t *)member = v;
        return 0;
    }
    return ERR_INVALID;
}

static void size_format(const void *member, struct buf *out)
{
    put_units(out, *(const uint64_t *)member, size_units);
}

static void size_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "a size in bytes, KiB, MiB or GiB (as 5242880 or 5MiB), from ");
    put_units(out, opt->min, size_units);
    (void)buf_puts(out, " to ");
    put_units(out, opt->max, size_units);
}

static int duration_parse(const struct option *opt, const char *text, void *member, bool first)
{
    long long v;
    if (parse_duration_ms(text, (long long)opt->max, &v) < 0 || v < (long long)opt->min)
        return ERR_INVALID;
    *(long long *)member = v;
    return 0;
}

static void duration_format(const void *member, struct buf *out)
{
    put_units(out, (uint64_t) * (const long long *)member, duration_units);
}

static void duration_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "a duration (as 500ms, 2s, 5m, 1h, or a number of seconds) from ");
    put_units(out, opt->min, duration_units);
    (void)buf_puts(out, " to ");
    put_units(out, opt->max, duration_units);
}

/* ------------------------------------------------------------------------------------- others */

/* From the largest to 1; as powers of ten. */
static const struct wei_unit {
    const char *name;
    size_t digits;
} wei_units[] = {{"ether", 18}, {"gwei", 9}, {"wei", 0}};

enum { WEI_UNITS = sizeof(wei_units) / sizeof(wei_units[0]) };

/* "1.25" with 9 decimals is 1250000000. */
static int parse_decimal(const char *text, size_t len, size_t decimals, struct u256 *out)
{
    char digits[U256_DEC_TEXT];
    const char *point = memchr(text, '.', len);
    size_t whole = point ? (size_t)(point - text) : len;
    size_t rest = point ? len - whole - 1 : 0;
    if (whole == 0 || (point && rest == 0) || rest > decimals || whole + decimals >= sizeof(digits))
        return ERR_INVALID;
    memcpy(digits, text, whole);
    if (rest) memcpy(digits + whole, point + 1, rest);
    memset(digits + whole + rest, '0', decimals - rest);
    digits[whole + decimals] = '\0';
    return strspn(digits, "0123456789") == whole + decimals ? u256_parse(digits, out) : ERR_INVALID;
}

static int wei_parse(const struct option *opt, const char *text, void *member, bool first)
{
    size_t len = strspn(text, "0123456789.");
    const char *unit = text[len] ? text + len : "wei";
    struct u256 v;
    for (size_t i = 0; i < WEI_UNITS; i++) {
        if (strcmp(unit, wei_units[i].name) != 0) continue;
        if (parse_decimal(text, len, wei_units[i].digits, &v) < 0) return ERR_INVALID;
        *(struct u256 *)member = v;
        return 0;
    }
    return ERR_INVALID;
}

/* In the largest unit that divides it. */
static void wei_format(const void *member, struct buf *out)
{
    char digits[U256_DEC_TEXT];
    size_t len = strlen(u256_format_dec(digits, *(const struct u256 *)member)), zeros = 0, i = 0;
    while (zeros + 1 < len && digits[len - 1 - zeros] == '0')
        zeros++;
    while (wei_units[i].digits > zeros)
        i++;
    digits[len - wei_units[i].digits] = '\0';
    (void)buf_putf(out, "%s%s", digits, wei_units[i].digits ? wei_units[i].name : "");
}

static void wei_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "an amount in wei, or as 1.5gwei or 0.1ether");
}

static int address_parse(const struct option *opt, const char *text, void *member, bool first)
{
    static const struct eth_address zero;
    struct option_address address = {.set = true};
    if (strcmp(text, "0x") == 0)
        address.set = false; // the reference's way to say none
    else if (hex_decode(address.value.b, sizeof(address.value.b), text) < 0 ||
             memcmp(&address.value, &zero, sizeof(zero)) == 0)
        return ERR_INVALID;
    *(struct option_address *)member = address;
    return 0;
}

static void address_format(const void *member, struct buf *out)
{
    const struct option_address *address = member;
    char text[ETH_ADDRESS_TEXT] = "0x";
    if (address->set) hex_encode(text, address->value.b, sizeof(address->value.b));
    (void)buf_puts(out, text);
}

static void address_clear(void *member)
{
    *(struct option_address *)member = (struct option_address){.set = false};
}

static bool address_is_set(const void *member)
{
    return ((const struct option_address *)member)->set;
}

static void address_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "an address, 0x and 40 hexadecimal digits, that is not zero");
}

static int secret_parse(const struct option *opt, const char *text, void *member, bool first)
{
    size_t len = strlen(text);
    if (len > opt->max) return ERR_INVALID;
    return secret_set(member, text, len);
}

static void secret_clear(void *member)
{
    secret_wipe(member);
}

static bool secret_is_set(const void *member)
{
    return ((const struct secret *)member)->len > 0;
}

static void secret_expected(const struct option *opt, struct buf *out)
{
    (void)buf_putf(out, "at most %llu bytes", (unsigned long long)opt->max);
}

/* The place of `text` among the words of `choices`, which '|' separates, or -1. */
static int choice_of(const char *choices, const char *text)
{
    size_t len = strlen(text);
    int i = 0;
    for (const char *p = choices;; i++) {
        size_t n = strcspn(p, "|");
        if (n == len && strncmp(p, text, n) == 0) return i;
        p += n;
        if (!*p++) return -1;
    }
}

static void choice_expected(const struct option *opt, struct buf *out)
{
    (void)buf_puts(out, "one of ");
    for (const char *p = opt->arg; *p; p++)
        if (*p == '|')
            (void)buf_puts(out, ", ");
        else
            (void)buf_put(out, p, 1);
}

static const enum log_level log_levels[] = {
    LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG};
static const char *const log_level_names[] = {"error", "warning", "info", "debug"};

static int log_level_parse(const struct option *opt, const char *text, void *member, bool first)
{
    int i = choice_of(opt->arg, text);
    if (i < 0) return ERR_INVALID;
    *(enum log_level *)member = log_levels[i];
    return 0;
}

static void log_level_format(const void *member, struct buf *out)
{
    for (size_t i = 0; i < sizeof(log_levels) / sizeof(log_levels[0]); i++)
        if (*(const enum log_level *)member == log_levels[i])
            (void)buf_puts(out, log_level_names[i]);
}

static int customer_api_parse(const struct option *opt, const char *text, void *member, bool first)
{
    int i = choice_of(opt->arg, text);
    if (i < 0) return ERR_INVALID;
    *(enum customer_api *)member = (enum customer_api)i;
    return 0;
}

static void customer_api_format(const void *member, struct buf *out)
{
    static const char *const names[] = {[CUSTOMER_API_AUTO] = "auto",
                                        [CUSTOMER_API_SBATCH] = "sbatch",
                                        [CUSTOMER_API_CUSTOMER] = "customer"};
    (void)buf_puts(out, names[*(const enum customer_api *)member]);
}

static int slurm_backend_parse(const struct option *opt, const char *text, void *member, bool first)
{
    int i = choice_of(opt->arg, text);
    if (i < 0) return ERR_INVALID;
    *(enum option_slurm_backend *)member = (enum option_slurm_backend)i;
    return 0;
}

static void slurm_backend_format(const void *member, struct buf *out)
{
    static const char *const names[] = {
        [OPTION_SLURM_AUTO] = "auto", [OPTION_SLURM_REST] = "rest", [OPTION_SLURM_SSH] = "ssh"};
    (void)buf_puts(out, names[*(const enum option_slurm_backend *)member]);
}

#define TEXT_TYPE(parser, expect)                                                           \
    {                                                                                       \
        .parse = parser, .format = text_format, .clear = text_clear, .is_set = text_is_set, \
        .expected = expect                                                                  \
    }
#define LIST_TYPE(parser, expect, repeats)                                                  \
    {                                                                                       \
        .parse = parser, .format = list_format, .clear = list_clear, .is_set = list_is_set, \
        .expected = expect, .repeatable = repeats                                           \
    }
#define VALUE_TYPE(parser, formatter, expect)                    \
    {                                                            \
        .parse = parser, .format = formatter, .expected = expect \
    }

const struct option_type option_types[OPTION_TYPE_COUNT] = {
    [OPTION_TYPE_STRING] = TEXT_TYPE(string_parse, string_expected),
    [OPTION_TYPE_BOOL] = VALUE_TYPE(bool_parse, bool_format, bool_expected),
    [OPTION_TYPE_U64] = VALUE_TYPE(u64_parse, u64_format, u64_expected),
    [OPTION_TYPE_SIZE] = VALUE_TYPE(size_parse, size_format, size_expected),
    [OPTION_TYPE_DURATION] = VALUE_TYPE(duration_parse, duration_format, duration_expected),
    [OPTION_TYPE_DECIMAL] = TEXT_TYPE(decimal_parse, decimal_expected),
    [OPTION_TYPE_WEI] = VALUE_TYPE(wei_parse, wei_format, wei_expected),
    [OPTION_TYPE_LISTEN] = TEXT_TYPE(listen_parse, listen_expected),
    [OPTION_TYPE_HOSTPORT] = TEXT_TYPE(hostport_parse, hostport_expected),
    [OPTION_TYPE_URLS] = LIST_TYPE(urls_parse, urls_expected, false),
    [OPTION_TYPE_WS_URL] = TEXT_TYPE(ws_url_parse, ws_url_expected),
    [OPTION_TYPE_REST_URL] = TEXT_TYPE(rest_url_parse, rest_url_expected),
    [OPTION_TYPE_ADDRESS] = {.parse = address_parse,
                             .format = address_format,
                             .clear = address_clear,
                             .is_set = address_is_set,
                             .expected = address_expected},
    [OPTION_TYPE_ABS_PATH] = TEXT_TYPE(abs_path_parse, abs_path_expected),
    [OPTION_TYPE_FILE] = TEXT_TYPE(string_parse, file_expected),
    [OPTION_TYPE_NAME] = TEXT_TYPE(name_parse, name_expected),
    [OPTION_TYPE_USER_TEMPLATE] = TEXT_TYPE(user_template_parse, user_template_expected),
    [OPTION_TYPE_SECRET] = {.parse = secret_parse,
                            .clear = secret_clear,
                            .is_set = secret_is_set,
                            .expected = secret_expected},
    [OPTION_TYPE_SECRET_FILE] = TEXT_TYPE(secret_file_parse, secret_file_expected),
    [OPTION_TYPE_LABELS] = LIST_TYPE(labels_parse, labels_expected, true),
    [OPTION_TYPE_LOG_LEVEL] = VALUE_TYPE(log_level_parse, log_level_format, choice_expected),
    [OPTION_TYPE_CUSTOMER_API] =
        VALUE_TYPE(customer_api_parse, customer_api_format, choice_expected),
    [OPTION_TYPE_SLURM_BACKEND] =
        VALUE_TYPE(slurm_backend_parse, slurm_backend_format, choice_expected),
};
