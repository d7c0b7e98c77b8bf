/* SPDX-License-Identifier: MIT */
/*
 * Makes every atomic access of the code under test a point at which another thread may go on
 * (schedule.h). A test asks for it by "unit-cflags: -include tests/hosted/points.h": the code's
 * own text stays as it is.
 */
#ifndef TESTS_HOSTED_POINTS_H
#define TESTS_HOSTED_POINTS_H

void hosted_point(void);

#define __atomic_load_n(...)		 (hosted_point(), __atomic_load_n(__VA_ARGS__))
#define __atomic_store_n(...)		 (hosted_point(), __atomic_store_n(__VA_ARGS__))
#define __atomic_exchange_n(...)	 (hosted_point(), __atomic_exchange_n(__VA_ARGS__))
#define __atomic_compare_exchange_n(...) (hosted_point(), __atomic_compare_exchange_n(__VA_ARGS__))
#define __atomic_fetch_add(...)		 (hosted_point(), __atomic_fetch_add(__VA_ARGS__))
#define __atomic_fetch_sub(...)		 (hosted_point(), __atomic_fetch_sub(__VA_ARGS__))
#define __atomic_fetch_and(...)		 (hosted_point(), __atomic_fetch_and(__VA_ARGS__))
#define __atomic_fetch_or(...)		 (hosted_point(), __atomic_fetch_or(__VA_ARGS__))
#define __atomic_fetch_xor(...)		 (hosted_point(), __atomic_fetch_xor(__VA_ARGS__))
#define __atomic_add_fetch(...)		 (hosted_point(), __atomic_add_fetch(__VA_ARGS__))
#define __atomic_sub_fetch(...)		 (hosted_point(), __atomic_sub_fetch(__VA_ARGS__))
#define __atomic_and_fetch(...)		 (hosted_point(), __atomic_and_fetch(__VA_ARGS__))
#define __atomic_or_fetch(...)		 (hosted_point(), __atomic_or_fetch(__VA_ARGS__))
#define __atomic_xor_fetch(...)		 (hosted_point(), __atomic_xor_fetch(__VA_ARGS__))

#endif
