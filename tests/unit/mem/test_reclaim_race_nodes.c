/* SPDX-License-Identifier: MIT */
/* unit-sources: @mem @reclaim tests/unit/mem/fixture.c */
/* unit-sanitizer: thread */
/* The same on a machine with three memory nodes, and a kaged for each. */
#define NODES 3
#include "tests/unit/mem/test_reclaim_race.c"
