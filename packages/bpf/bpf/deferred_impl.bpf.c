// SPDX-License-Identifier: GPL-2.0-only
/* Strategy deferred on 6.18 and 6.19, where the function that asks a task has a name and an argument of its own. */
#define TASK_WORK_IMPL
#include "deferred.bpf.c"
