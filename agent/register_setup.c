/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/register_setup.h"

static int read_prices(const struct options *o, struct provider_prices *prices, struct error *err)
{
    // The options' type has seen to it that these are numbers of 256 bits.
    (void)u256_parse(o->metascheduler_cpu_price_per_min, &prices->cpu);
    (void)u256_parse(o->metascheduler_gpu_price_per_min, &prices->gpu);
    (void)u256_parse(o->metascheduler_mem_price_per_min, &prices->mem_mb);
    if (!provider_is_free(prices)) return 0;
    return error_set(err,
                     ERR_INVALID,
                     "--metascheduler.cpu-price-per-min and --metascheduler.mem-price-per-min are "
                     "both 0: a job would cost nothing, and the contract gives out no such jobs");
}

int register_setup(const struct options *o,
                   struct chain_provider *terms,
                   struct registration_rules *rules,
                   struct error *err)
{
    struct chain_provider p = {.known = true};
    int rc = read_prices(o, &p.prices, err);
    for (size_t i = 0; rc == 0 && i < o->metascheduler_label.count; i++)
        if ((rc = provider_add_label(&p, o->metascheduler_label.items[i], err)) < 0)
            (void)error_prefix(err, "--metascheduler.label");
    if (rc == 0 && o->res_nodes && !(o->res_cpus && o->res_mem))
        rc = error_set(err, ERR_INVALID, "--res.nodes needs --res.cpus and --res.mem");
    if (rc < 0) {
        provider_free(&p);
        return rc;
    }
    *terms = p;
    *rules = (struct registration_rules){.nodes = o->res_nodes,
                                         .cpus = o->res_cpus,
                                         .gpus = o->res_gpus,
                                         .mem_mb = o->res_mem,
                                         .skip_down = o->register_skip_down};
    return 0;
}
