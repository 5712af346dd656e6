/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plugins/forwarder/verdict.h"

/* gRPC status codes. */
enum {
    STATUS_OK = 0,
    STATUS_UNKNOWN = 2,
    STATUS_INVALID_ARGUMENT = 3,
    STATUS_NOT_FOUND = 5,
    STATUS_PERMISSION_DENIED = 7,
    STATUS_FAILED_PRECONDITION = 9,
    STATUS_ABORTED = 10,
    STATUS_OUT_OF_RANGE = 11,
    STATUS_INTERNAL = 13,
    STATUS_DATA_LOSS = 15,
};

enum verdict verdict_of(int status)
{
    switch (status) {
    case STATUS_OK:
        return VERDICT_DONE;
    case STATUS_NOT_FOUND:
    case STATUS_FAILED_PRECONDITION:
        return VERDICT_REFUSED;
    case STATUS_INVALID_ARGUMENT:
    case STATUS_PERMISSION_DENIED:
    case STATUS_OUT_OF_RANGE:
        return VERDICT_POISON;
    case STATUS_UNKNOWN:
    case STATUS_ABORTED:
    case STATUS_INTERNAL:
    case STATUS_DATA_LOSS:
        return VERDICT_RECORD_FAILED;
    default:
        return VERDICT_AGENT_FAILED;
    }
}
