/* SPDX-License-Identifier: MIT */
/* Undoes points.h, for the fake machine's own bookkeeping: to be included again and again. */
#undef __atomic_load_n
#undef __atomic_store_n
#undef __atomic_exchange_n
#undef __atomic_compare_exchange_n
#undef __atomic_fetch_add
#undef __atomic_fetch_sub
#undef __atomic_fetch_and
#undef __atomic_fetch_or
#undef __atomic_fetch_xor
#undef __atomic_add_fetch
#undef __atomic_sub_fetch
#undef __atomic_and_fetch
#undef __atomic_or_fetch
#undef __atomic_xor_fetch
