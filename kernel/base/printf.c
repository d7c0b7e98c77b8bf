/* SPDX-License-Identifier: MIT */
#include "kernel/base/printf.h"
#include "kernel/base/string.h"

/* Where the text goes. len counts what it would be; only what fits is stored. */
struct out {
	char *buf;
	size_t size, len;
};

/* One conversion: "%[flags][width][.precision][length]type". */
struct spec {
	bool left, zero, alternate, plus, space;
	int width;
	int precision; /* -1: none given */
	int longs;     /* 0 int, 1 long, 2 long long; -1 short, -2 char */
	char type;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void pad(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

static void put_text(struct out *o, const struct spec *s, const char *text, size_t len)
{
	int fill = s->width > (int)len ? s->width - (int)len : 0;

	if (!s->left)
		pad(o, ' ', fill);
	for (size_t i = 0; i < len; i++)
		put(o, text[i]);
	if (s->left)
		pad(o, ' ', fill);
}

/* prefix is a sign or "0x": it stands before the zeros that fill up, after the spaces. */
static void put_number(struct out *o, const struct spec *s, u64 value, u32 base, const char *prefix)
{
	const char *set = s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	char digits[24];
	int n = 0, zeros, fill, prefix_len = (int)strlen(prefix);

	for (; value; value /= base)
		digits[n++] = set[value % base];
	zeros = s->precision < 0 ? (n ? 0 : 1) : max(s->precision - n, 0);
	fill = max(s->width - n - zeros - prefix_len, 0);
	if (s->zero && !s->left && s->precision < 0) {
		zeros += fill;
		fill = 0;
	}
	if (!s->left)
		pad(o, ' ', fill);
	while (*prefix)
		put(o, *prefix++);
	pad(o, '0', zeros);
	while (n)
		put(o, digits[--n]);
	if (s->left)
		pad(o, ' ', fill);
}

static s64 narrow_signed(s64 v, int longs)
{
	if (longs > 0)
		return v;
	return longs == 0 ? (s64)(int)v : longs == -1 ? (s64)(short)v : (s64)(signed char)v;
}

static u64 narrow_unsigned(u64 v, int longs)
{
	if (longs > 0)
		return v;
	return longs == 0 ? (u32)v : longs == -1 ? (u16)v : (u8)v;
}

static const char *parse_flags(const char *p, struct spec *s)
{
	for (;; p++) {
		switch (*p) {
		case '-':
			s->left = true;
			break;
		case '0':
			s->zero = true;
			break;
		case '#':
			s->alternate = true;
			break;
		case '+':
			s->plus = true;
			break;
		case ' ':
			s->space = true;
			break;
		default:
			return p;
		}
	}
}

#define FIELD_MAX \
	4096 /* a width or precision beyond this is cut: keeps the sums far from INT_MAX */

static const char *parse_count(const char *p, int *out)
{
	int n = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		n = min(n * 10 + (*p - '0'), FIELD_MAX);
	*out = n;
	return p;
}

static const char *parse_length(const char *p, struct spec *s)
{
	for (;; p++) {
		if (*p == 'l')
			s->longs++;
		else if (*p == 'h')
			s->longs--;
		else if (*p == 'z' || *p == 't' || *p == 'j')
			s->longs = 2;
		else
			return p;
	}
}

/* An argument list that can be handed on by address, which an array type cannot. */
struct args {
	va_list ap;
};

static const char *parse_spec(const char *p, struct spec *s, struct args *args)
{
	*s = (struct spec){.precision = -1};
	p = parse_flags(p, s);
	if (*p == '*') {
		int width = max(min(va_arg(args->ap, int), FIELD_MAX), -FIELD_MAX);

		s->left |= width < 0;
		s->width = width < 0 ? -width : width;
		p++;
	} else {
		p = parse_count(p, &s->width);
	}
	if (*p == '.') {
		p++;
		if (*p == '*') {
			int precision = va_arg(args->ap, int);

			s->precision = precision < 0 ? -1 : precision;
			p++;
		} else {
			p = parse_count(p, &s->precision);
		}
	}
	p = parse_length(p, s);
	s->type = *p;
	return p;
}

static u64 unsigned_arg(const struct spec *s, struct args *args)
{
	if (s->longs > 0)
		return va_arg(args->ap, u64);
	return narrow_unsigned(va_arg(args->ap, u32), s->longs);
}

static void convert_signed(struct out *o, const struct spec *s, struct args *args)
{
	s64 v = s->longs > 0 ? va_arg(args->ap, s64)
			     : narrow_signed(va_arg(args->ap, int), s->longs);
	const char *sign = v < 0 ? "-" : s->plus ? "+" : s->space ? " " : "";

	put_number(o, s, v < 0 ? 0 - (u64)v : (u64)v, 10, sign);
}

static void convert_string(struct out *o, const struct spec *s, struct args *args)
{
	const char *text = va_arg(args->ap, const char *);

	if (!text)
		text = "(null)";
	put_text(o, s, text, s->precision < 0 ? strlen(text) : strnlen(text, (size_t)s->precision));
}

/* An unknown conversion is printed as it stands, so that the mistake is seen. */
static void convert(struct out *o, const struct spec *s, struct args *args)
{
	char c;
	u64 v;

	switch (s->type) {
	case 'd':
	case 'i':
		convert_signed(o, s, args);
		break;
	case 'u':
		put_number(o, s, unsigned_arg(s, args), 10, "");
		break;
	case 'x':
	case 'X':
		v = unsigned_arg(s, args);
		put_number(o, s, v, 16, s->alternate && v ? (s->type == 'x' ? "0x" : "0X") : "");
		break;
	case 'p':
		put_number(o, s, (u64)(uintptr_t)va_arg(args->ap, void *), 16, "0x");
		break;
	case 'c':
		c = (char)va_arg(args->ap, int);
		put_text(o, s, &c, 1);
		break;
	case 's':
		convert_string(o, s, args);
		break;
	case '%':
		put(o, '%');
		break;
	default:
		put(o, '%');
		if (s->type)
			put(o, s->type);
	}
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {buf, size, 0};
	struct args args;
	struct spec s;

	va_copy(args.ap, ap);
	for (const char *p = fmt; *p; p++) {
		if (*p != '%') {
			put(&o, *p);
			continue;
		}
		p = parse_spec(p + 1, &s, &args);
		convert(&o, &s, &args);
		if (!s.type)
			break;
	}
	va_end(args.ap);
	if (size)
		buf[o.len < size ? o.len : size - 1] = '\0';
	return (int)o.len;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
