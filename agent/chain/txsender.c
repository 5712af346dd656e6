/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The sender: a thread with what was asked of it in two lists, prepares and tracks. A round of it:
 * survey, look and broadcast, prepare. It keeps no state that a restart loses: the engine asks
 * again, and a track begins with a look at the chain.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/chain/txsender_private.h"
#include "agent/util/clock.h"
#include "agent/util/retry.h"
#include "agent/util/thread.h"

enum {
    PERIOD_MAX_MS = 500, // a receipt is not seen later than this after the node has it
    PERIOD_MIN_MS = 20,
};

void txsender_tx_free(struct tx *tx)
{
    free(tx->data);
    free(tx);
}

long long txsender_period_ms(const struct txsender *s)
{
    long long ms = s->c->options.poll_interval_ms;
    if (ms > PERIOD_MAX_MS) return PERIOD_MAX_MS;
    return ms < PERIOD_MIN_MS ? PERIOD_MIN_MS : ms;
}

void txsender_put_off(struct txsender *s, struct tx *tx)
{
    tx->attempt++;
    tx->due_ms = clock_mono_ms() +
                 retry_delay_ms(tx->attempt, chain_retry_base_ms(s->c), CHAIN_RETRY_MAX_MS);
}

size_t txsender_due(const struct tx_list *list, long long now_ms, struct tx *out[TX_ROUND_MAX])
{
    size_t n = 0, bytes = 0;
    for (size_t i = 0; i < list->count && n < TX_ROUND_MAX; i++) {
        struct tx *tx = list->items[i];
        if (tx->due_ms > now_ms) continue;
        if (n > 0 && bytes + tx->len > TX_ROUND_BYTES_MAX) break;
        bytes += tx->len;
        out[n++] = tx;
    }
    return n;
}

/* ---- the queue ---- */

static bool has_id(const struct txsender *s, uint64_t id)
{
    for (size_t i = 0; i < s->id_count; i++)
        if (s->ids[i] == id) return true;
    return false;
}

/* Takes `tx` on success. */
static int enqueue_take(struct txsender *s, struct tx *tx)
{
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (s->stop)
        rc = ERR_STOPPED;
    else if (has_id(s, tx->id))
        rc = tx->prepare ? ERR_EXISTS : 0; // a track takes the place of what there is
    else if (s->id_count >= TX_MAX)
        rc = ERR_BUSY;
    else
        s->ids[s->id_count++] = tx->id;
    if (rc == 0) {
        *s->inbox_end = tx;
        s->inbox_end = &tx->next;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int enqueue(struct txsender *s, const struct tx *form, const void *data, size_t len)
{
    if (len > TX_DATA_MAX) return ERR_LIMIT;
    struct tx *tx = malloc(sizeof(*tx));
    if (!tx) return ERR_NOMEM;
    *tx = *form;
    tx->data = malloc(len + 1); // so that none is no failure
    if (!tx->data) {
        free(tx);
        return ERR_NOMEM;
    }
    if (len) memcpy(tx->data, data, len);
    tx->len = len;
    int rc = enqueue_take(s, tx);
    if (rc < 0) txsender_tx_free(tx);
    return rc;
}

int txsender_prepare(
    struct txsender *s, uint64_t id, const struct eth_address *to, const void *calldata, size_t len)
{
    struct tx form = {.id = id, .prepare = true, .to = *to};
    return enqueue(s, &form, calldata, len);
}

int txsender_track(struct txsender *s, uint64_t id, const struct chain_signed *signed_tx)
{
    if (signed_tx->count == 0 || signed_tx->count > CHAIN_ATTEMPTS_MAX) return ERR_INVALID;
    struct tx form = {.id = id, .attempt_count = signed_tx->count, .fees = signed_tx->fees};
    memcpy(form.attempts, signed_tx->attempts, signed_tx->count * sizeof(form.attempts[0]));
    return enqueue(s, &form, signed_tx->raw, signed_tx->len);
}

void txsender_remove(struct txsender *s, struct tx_list *list, struct tx *tx)
{
    size_t i = 0;
    while (i < list->count && list->items[i] != tx)
        i++;
    if (i < list->count) {
        list->count--;
        memmove(&list->items[i], &list->items[i + 1], (list->count - i) * sizeof(list->items[0]));
    }
    pthread_mutex_lock(&s->lock);
    for (i = 0; i < s->id_count && s->ids[i] != tx->id; i++)
        ;
    if (i < s->id_count) s->ids[i] = s->ids[--s->id_count];
    pthread_mutex_unlock(&s->lock);
}

const struct chain_attempt *txsender_last(const struct tx *tx)
{
    return &tx->attempts[tx->attempt_count - 1];
}

static uint64_t order_of(const struct tx *tx)
{
    return tx->prepare ? 0 : txsender_last(tx)->nonce;
}

/* Behind the ones of the same or a lower nonce; prepares have none, so that is the end. */
static void insert(struct tx_list *list, struct tx *tx)
{
    size_t i = list->count;
    while (i > 0 && order_of(list->items[i - 1]) > order_of(tx))
        i--;
    memmove(&list->items[i + 1], &list->items[i], (list->count - i) * sizeof(list->items[0]));
    list->items[i] = tx;
    list->count++;
}

/* The next attempt of a call takes the place of the one before. */
static void drop_older(struct txsender *s, uint64_t id)
{
    for (size_t i = 0; i < s->tracks.count; i++) {
        struct tx *tx = s->tracks.items[i];
        if (tx->id != id) continue;
        s->tracks.count--;
        memmove(&s->tracks.items[i],
                &s->tracks.items[i + 1],
                (s->tracks.count - i) * sizeof(s->tracks.items[0]));
        txsender_tx_free(tx);
        return;
    }
}

/* ---- the thread ---- */

struct news {
    struct tx *inbox;
    bool stop, new_head, node_up;
};

static long long earliest(const struct tx_list *list, long long until)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->due_ms < until) until = list->items[i]->due_ms;
    return until;
}

/* When there is something to do by itself. */
static long long next_due_ms(const struct txsender *s)
{
    long long due = s->survey_due_ms;
    due = earliest(&s->tracks, earliest(&s->prepares, due));
    return due > s->not_before_ms ? due : s->not_before_ms;
}

static struct news wait_for_news(struct txsender *s)
{
    long long until = next_due_ms(s);
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->stop && !s->inbox && !s->new_head && !s->node_up && rc == 0)
        rc = until == INT64_MAX ? pthread_cond_wait(&s->changed, &s->lock)
                                : thread_cond_wait_until(&s->changed, &s->lock, until);
    struct news n = {
        .inbox = s->inbox, .stop = s->stop, .new_head = s->new_head, .node_up = s->node_up};
    s->inbox = NULL;
    s->inbox_end = &s->inbox;
    s->new_head = s->node_up = false;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* After an outage nothing is put off any longer, and the node may have lost what it had. */
static void recheck_all(struct txsender *s)
{
    for (size_t i = 0; i < s->prepares.count; i++)
        s->prepares.items[i]->due_ms = 0;
    for (size_t i = 0; i < s->tracks.count; i++) {
        s->tracks.items[i]->due_ms = 0;
        s->tracks.items[i]->check = true;
    }
}

/* A new block: what waits for its turn is looked at, what was too cheap may have its chance. */
static void note_head(struct txsender *s)
{
    s->want_survey = true;
    for (size_t i = 0; i < s->prepares.count; i++)
        s->prepares.items[i]->due_ms = 0;
    for (size_t i = 0; i < s->tracks.count; i++) {
        struct tx *tx = s->tracks.items[i];
        if (!tx->nonce_used && tx->answer != TX_ANSWER_NO_FUNDS && tx->answer != TX_ANSWER_LATER)
            tx->due_ms = 0;
    }
}

/* The id may have become free since it was posted: what it was for has ended in between. */
static bool keep_id(struct txsender *s, uint64_t id)
{
    pthread_mutex_lock(&s->lock);
    bool there = has_id(s, id);
    if (!there && s->id_count < TX_MAX) {
        s->ids[s->id_count++] = id;
        there = true;
    }
    pthread_mutex_unlock(&s->lock);
    return there;
}

static void take(struct txsender *s, struct tx *tx)
{
    if (!tx->prepare) drop_older(s, tx->id);
    if (keep_id(s, tx->id))
        insert(tx->prepare ? &s->prepares : &s->tracks, tx);
    else
        txsender_tx_free(tx);
}

static void take_news(struct txsender *s, const struct news *n)
{
    for (struct tx *tx = n->inbox, *next; tx; tx = next) {
        next = tx->next;
        take(s, tx);
    }
    if (n->node_up) {
        s->not_before_ms = 0;
        s->attempt = 0;
        s->want_survey = true;
        recheck_all(s);
    }
    if (n->new_head) note_head(s);
}

static void failed(struct txsender *s, const struct error *err)
{
    unsigned int more;
    s->attempt++;
    s->not_before_ms =
        clock_mono_ms() + retry_delay_ms(s->attempt, chain_retry_base_ms(s->c), CHAIN_RETRY_MAX_MS);
    for (size_t i = 0; i < s->tracks.count; i++)
        s->tracks.items[i]->check = true;
    if (log_limit_ok(&s->transport_limit, TX_WARN_EVERY_MS, &more))
        log_warn("chain: transactions wait, trying again: %s", err->text);
}

static int run_round(struct txsender *s, struct error *err)
{
    int rc = txsurvey_run(s, err);
    if (rc == 0) rc = txtrack_round(s, err);
    if (rc == 0) rc = txprepare_round(s, err);
    return rc;
}

/* All of a round is asked of one node, so that its answers fit each other; else of the next. */
static int run_any(struct txsender *s, struct error *err)
{
    int rc;
    pool_pin_best(s->rpc);
    do {
        rc = run_round(s, err);
        if (rc == 0 || rc == ERR_STOPPED || rc == ERR_BUSY) break;
        pool_blame(s->rpc, err->text);
    } while (pool_pin_next(s->rpc));
    return rc;
}

static void *sender_main(void *arg)
{
    struct txsender *s = arg;
    uint64_t chain_id;
    for (;;) {
        struct news news = wait_for_news(s);
        take_news(s, &news);
        if (news.stop) break;
        if (clock_mono_ms() < s->not_before_ms) continue;
        struct error err = {0};
        if (!chain_identity(s->c, &chain_id, &s->emitters)) {
            s->not_before_ms = INT64_MAX; // until the watcher says node_up
            continue;
        }
        int rc = run_any(s, &err);
        if (rc == ERR_STOPPED) continue; // the news of it are there, or about to be
        if (rc == ERR_BUSY)              // another node than before, behind it
            s->not_before_ms = clock_mono_ms() + txsender_period_ms(s);
        else if (rc < 0)
            failed(s, &err);
        else
            s->attempt = 0;
    }
    return NULL;
}

static void free_list(struct tx_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        txsender_tx_free(list->items[i]);
    list->count = 0;
}

static struct txsender *sender_free(struct txsender *s)
{
    struct news rest = {.inbox = s->inbox};
    take_news(s, &rest);
    free_list(&s->prepares);
    free_list(&s->tracks);
    jsonrpc_batch_destroy(s->batch);
    jsonrpc_batch_destroy(s->second);
    pool_client_destroy(s->rpc);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

struct txsender *txsender_start(struct chain *c, struct error *err)
{
    struct txsender *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(err, ERR_NOMEM, "chain: out of memory");
        return NULL;
    }
    s->c = c;
    s->inbox_end = &s->inbox;
    pthread_mutex_init(&s->lock, NULL);
    thread_cond_init(&s->changed);
    s->rpc = pool_client_new(c->pool, err);
    s->batch = s->rpc ? jsonrpc_batch_new(err) : NULL;
    s->second = s->batch ? jsonrpc_batch_new(err) : NULL;
    if (!s->second || thread_start(&s->thread, "chain-send", sender_main, s, err) < 0)
        return sender_free(s);
    return s;
}

struct txsender *txsender_stop(struct txsender *s)
{
    if (!s) return NULL;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pool_client_stop(s->rpc);
    pthread_join(s->thread, NULL);
    return sender_free(s);
}

void txsender_new_head(struct txsender *s)
{
    pthread_mutex_lock(&s->lock);
    s->new_head = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void txsender_node_up(struct txsender *s)
{
    pthread_mutex_lock(&s->lock);
    s->node_up = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}
