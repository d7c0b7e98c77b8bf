/* SPDX-License-Identifier: MIT */
/* Functions that a test has to have and that have nothing to do in it: defined in one line each. */
#ifndef TESTS_HOSTED_FAKES_H
#define TESTS_HOSTED_FAKES_H

#define NOTHING(name, ...)      \
	void name(__VA_ARGS__); \
	void name(__VA_ARGS__)  \
	{                       \
	}

#define ANSWER(type, name, value, ...) \
	type name(__VA_ARGS__);        \
	type name(__VA_ARGS__)         \
	{                              \
		return value;          \
	}

#endif
