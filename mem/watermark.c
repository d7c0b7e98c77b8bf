/* SPDX-License-Identifier: MIT */
#include "mem/watermark.h"

struct watermarks watermarks;
