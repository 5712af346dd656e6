/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the SSH backend reads: squeue's records, Slurm's messages, the key. Texts of 22.05.8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/slurm/squeue.h"
#include "agent/slurm/ssh_backend.h"
#include "agent/slurm/verdict.h"

static struct error err;

#define HEADER                                                                                     \
    "Welcome\nJOBID               |STATE               |EXIT_CODE           |SUBMIT_TIME         " \
    "|"                                                                                            \
    "START_TIME          |END_TIME            |TIME_LIMIT          |TIME|RESTART_COUNT|NODELIST"   \
    "            |USER|NAME|COMMENT|\n"

static void put_job(struct buf *b, const char *head, const char *name, const char *comment)
{
    (void)buf_putf(b, "%s%-63s|%-127s|%-255s|\n", head, "alice", name, comment);
}

static void test_records(void **state)
{
    struct buf text = BUF_INIT(65536);
    struct slurm_job job;
    (void)buf_puts(&text, HEADER);
    put_job(&text,
            "1                   |FAILED              |768                 |1795405594          |"
            "1795405595          |1795405599          |1-02:03:04          |0:04                |"
            "2                   |n|",
            "a|b\nc",
            "supervisor x\n2                   |RUNNING             |0|1|1|1|");
    put_job(&text, "7|COMPLETING|0|1795405594|1795405595|1795409999|5:00|3:00|0|n|", "n", "(null)");
    put_job(&text, "4294967295|PENDING||1795405594|N/A|N/A|UNLIMITED|0:00|0| |", "", "");
    put_job(&text, "8|OUT_OF_MEMORY|0:125|5|6|7|1:00:00|INVALID|0|n|", "", "");
    put_job(&text, "9|CONFIGURING|0|5|6|700|1:00|0:01|0|n|", "", "");
    put_job(&text, "10|TIMEOUT|4294967294|5|6|NONE|INVALID|1-02:03:04|0|n|", "", "");
    const char *at = squeue_records(buf_str(&text));
    assert_non_null(at);

    assert_int_equal(squeue_next(&at, &job, &err), 1);
    assert_int_equal(job.id, 1);
    assert_int_equal(job.state, SLURM_FAILED);
    assert_int_equal(job.wait_status, 768);
    assert_int_equal(job.submit_s, 1795405594);
    assert_int_equal(job.start_s, 1795405595);
    assert_int_equal(job.end_s, 1795405599);
    assert_int_equal(job.limit_min, 26 * 60 + 3);
    assert_int_equal(job.ran_s, 4);
    assert_int_equal(job.restarts, 2);
    assert_true(job.started);
    assert_string_equal(job.user, "alice");
    assert_string_equal(job.name, "a|b\nc");
    assert_int_equal(strncmp(job.comment, "supervisor x\n2 ", 15), 0);

    assert_int_equal(squeue_next(&at, &job, &err), 1);
    assert_int_equal(job.id, 7);
    assert_int_equal(slurm_phase_of(job.state), SLURM_PHASE_RUNNING);
    assert_int_equal(job.start_s, 1795405595);
    assert_int_equal(job.end_s, 0);
    assert_int_equal(job.limit_min, 5);
    assert_int_equal(job.ran_s, 0); // so far: nobody needs it

    assert_int_equal(squeue_next(&at, &job, &err), 1);
    assert_int_equal(job.id, 4294967295);
    assert_int_equal(job.limit_min, 0);
    assert_int_equal(slurm_phase_of(job.state), SLURM_PHASE_WAITING);
    assert_int_equal(job.start_s, 0);
    assert_false(job.started);

    assert_int_equal(squeue_next(&at, &job, &err), 1);
    assert_int_equal(job.state, SLURM_OOM);
    assert_int_equal(job.wait_status, 125);
    assert_int_equal(job.limit_min, 60);
    assert_int_equal(job.ran_s, 0);

    assert_int_equal(squeue_next(&at, &job, &err), 1);
    assert_int_equal(slurm_phase_of(job.state), SLURM_PHASE_WAITING);

    assert_int_equal(squeue_next(&at, &job, &err), 1);
    assert_int_equal(job.wait_status, 0);
    assert_int_equal(job.ran_s, 86400 + 2 * 3600 + 3 * 60 + 4);
    assert_int_equal(squeue_next(&at, &job, &err), 0);
    buf_free(&text);
}

static void test_bad_records(void **state)
{
    static const char *const heads[] = {
        "x|RUNNING|0|1|1|1|5:00|0:01|0|n|",
        "1|DANCING|0|1|1|1|5:00|0:01|0|n|",
        "1|RUNNING|-1|1|1|1|5:00|0:01|0|n|",
        "1|RUNNING|0|soon|1|1|5:00|0:01|0|n|",
        "1|RUNNING|300:0|1|1|1|5:00|0:01|0|n|",
        "1|RUNNING|0|1|1|5:00|0:01|0|n|",
        "4294967296|RUNNING|0|1|1|1|5:00|0:01|0|n|",
        "1_[2-3]|RUNNING|0|1|1|1|5:00|0:01|0|n|",
        "1|RUNNING|0|1|1|1|1-5:00|0:01|0|n|",
        "1|RUNNING|0|1|1|1|5|0:01|0|n|",
        "1|RUNNING|0|1|1|1|1:5:00:00|0:01|0|n|",
        "1|RUNNING|0|1|1|1|5:60|0:01|0|n|",
        "1|RUNNING|0|1|1|1|5:00|soon|0|n|",
        "1|RUNNING|0|1|1|1|5:00|7|0|n|",
        "1|RUNNING|0|1|1|1|5:00|0:60|0|n|",
        "1|RUNNING|0|1|1|1|5:00|1:2:3:4|0|n|",
        "1|RUNNING|0|1|1|1|5:00|x-1:2:3|0|n|",
        "1|RUNNING|0|1|1|1|5:00|1-|0|n|",
        "1|RUNNING|0|1|1|1|5:00|0:01|-1|n|",
        "1|RUNNING|0|1|1|1|5:00|0:01|0|",
        "squeue: error: no\n",
    };
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        struct buf text = BUF_INIT(65536);
        struct slurm_job job = {.id = 77};
        put_job(&text, heads[i], "n", "c");
        const char *at = buf_str(&text);
        assert_int_equal(squeue_next(&at, &job, &err), ERR_PROTO);
        assert_int_equal(job.id, 77);
        buf_free(&text);
    }
    // Cut at any byte: an error or the end, never a record and never beyond the text.
    struct buf text = BUF_INIT(65536);
    put_job(&text, "1|RUNNING|0|1|1|1|5:00|0:01|0|n|", "name", "comment");
    for (size_t n = 0; n < text.len; n++) {
        char cut[1024];
        struct slurm_job job;
        memcpy(cut, text.data, n);
        cut[n] = '\0';
        const char *at = cut;
        assert_int_equal(squeue_next(&at, &job, &err), n ? ERR_PROTO : 0);
    }
    buf_free(&text);
    assert_null(squeue_records(""));
    assert_null(squeue_records("JOBID PARTITION\n"));
}

static void test_verdicts(void **state)
{
    static const struct {
        const char *tool;
        bool own;
        int status;
        const char *text;
        int code;
        const char *said;
    } table[] = {
        {"sbatch",
         true,
         1,
         "-bash: noise\nsbatch: error: invalid partition specified: nope\n"
         "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
         ERR_REFUSED,
         "invalid partition specified: nope; Batch job submission failed: Invalid partition name "
         "specified"},
        {"sbatch",
         true,
         1,
         "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
         "failure)\n",
         ERR_OUTCOME_UNKNOWN,
         NULL},
        {"sbatch",
         true,
         1,
         "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n",
         ERR_OUTCOME_UNKNOWN,
         NULL},
        {"sbatch", true, 1, "sbatch: error: Batch script is empty!\n", ERR_UNAVAILABLE, NULL},
        {"sbatch",
         true,
         137,
         "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n",
         ERR_OUTCOME_UNKNOWN,
         "signal 9"},
        {"sbatch", true, 137, "sbatch: error: some plugin\n", ERR_OUTCOME_UNKNOWN, NULL},
        {"sbatch",
         true,
         1,
         "This account is currently not available.\n",
         ERR_OUTCOME_UNKNOWN,
         "not available"},
        {"sbatch", true, 1, "", ERR_OUTCOME_UNKNOWN, NULL},
        {"sbatch", true, 127, "timeout: failed to run command", ERR_UNAVAILABLE, "/opt/sbatch"},
        {"sbatch", true, 126, "", ERR_UNAVAILABLE, "check the path"},
        {"scancel",
         true,
         210,
         "scancel: error: Kill job error on job id 2: Access/permission denied\n",
         ERR_REFUSED,
         "Kill job error on job id 2: Access/permission denied"},
        {"scontrol", false, 1, "Invalid job id specified for job 77\n", ERR_NOTFOUND, NULL},
        {"scontrol", false, 1, "Job has already finished for job 1\n", ERR_EXISTS, NULL},
        {"scontrol",
         false,
         1,
         "Unexpected message received for job 2\n",
         ERR_OUTCOME_UNKNOWN,
         NULL},
        {"squeue",
         false,
         1,
         "slurm_load_jobs error: Invalid job id specified\n",
         ERR_NOTFOUND,
         NULL},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int rc = verdict_of(
            table[i].tool, "/opt/sbatch", table[i].own, table[i].status, table[i].text, &err);
        assert_int_equal(rc, table[i].code);
        assert_int_equal(err.code, table[i].code);
        if (table[i].said && !strstr(err.text, table[i].said)) fail_msg("%s", err.text);
        assert_null(strstr(err.text, "noise"));
    }
    struct buf flood = BUF_INIT(1 << 20);
    for (int i = 0; i < 1000; i++)
        (void)buf_puts(&flood, "sbatch: error: again and again\n");
    assert_int_equal(verdict_of("sbatch", "", true, 1, buf_str(&flood), &err), ERR_REFUSED);
    buf_free(&flood);
}

/* Made for this test with ssh-keygen -t ed25519; opens nothing. */
static const char key[] =
    "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0KYjNCbGJuTnphQzFyWlhrdGRqRUFBQUFB"
    "Qkc1dmJtVUFBQUFFYm05dVpRQUFBQUFBQUFBQkFBQUFNd0FBQUF0emMyZ3RaVwpReU5UVXhPUUFBQUNB"
    "U05QVXNiQTZGOERpVis3UkVLaUh0WUx1UXU2c1dSODFQRWxiR0YzWmFIUUFBQUlncDFueFdLZFo4ClZn"
    "QUFBQXR6YzJndFpXUXlOVFV4T1FBQUFDQVNOUFVzYkE2RjhEaVYrN1JFS2lIdFlMdVF1NnNXUjgxUEVs"
    "YkdGM1phSFEKQUFBRURtRnJHeWZpb09Nd05SWm1MOGZtNk1oUmIrV05MYTlqWVBkcm0yQ1VNaW14STA5"
    "U3hzRG9Yd09KWDd0RVFxSWUxZwp1NUM3cXhaSHpVOFNWc1lYZGxvZEFBQUFBQUVDQXdRRgotLS0tLUVO"
    "RCBPUEVOU1NIIFBSSVZBVEUgS0VZLS0tLS0K";
static const char public_key[] =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBI09SxsDoXwOJX7tEQqIe1gu5C7qxZHzU8SVsYXdlod "
    "deepsquare-agent";

static void test_public_key(void **state)
{
    struct secret s = {0};
    struct buf line = BUF_INIT(4096);
    assert_int_equal(secret_set(&s, key, strlen(key)), 0);
    assert_int_equal(slurm_ssh_public_key(&s, &line, &err), 0);
    assert_string_equal(buf_str(&line), public_key);
    buf_free(&line);
    static const char *const bad[] = {"", "!!", "aGVsbG8=", "aGVsbG8", "-----BEGIN nothing-----"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(secret_set(&s, bad[i], strlen(bad[i])), 0);
        assert_int_equal(slurm_ssh_public_key(&s, &line, &err), ERR_INVALID);
        assert_int_equal(line.len, 0);
    }
    secret_wipe(&s);
}

static void test_options(void **state)
{
    struct slurm_ssh_options good = {
        .address = "login:22", .admin_user = "admin", .connect_timeout_ms = 1000};
    assert_int_equal(secret_set(&good.private_key, key, strlen(key)), 0);
    struct slurm_backend *b = slurm_ssh_new(&good, &err);
    assert_non_null(b);
    assert_string_equal(b->ops->name, "ssh");
    b->ops->destroy(b);
    struct slurm_ssh_options bad = good;
    static const char *const addresses[] = {NULL, "", "login", ":22", "login:0", "login:x"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        bad.address = addresses[i];
        assert_null(slurm_ssh_new(&bad, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    bad = good;
    bad.admin_user = "";
    assert_null(slurm_ssh_new(&bad, &err));
    bad = good;
    bad.private_key = (struct secret){0};
    assert_null(slurm_ssh_new(&bad, &err));
    secret_wipe(&good.private_key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_public_key),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests_name("ssh_backend", tests, NULL, NULL);
}
