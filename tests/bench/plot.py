# SPDX-License-Identifier: MIT
"""Bars in an SVG: what the plots in docs/ are made of."""


class Panel:
    """One set of bars above a line at y = bottom: `tall` high where the value is `most`."""

    def __init__(self, title, top, bottom, tall, most, step, left=46, right=710):
        self.bottom, self.tall, self.most = bottom, tall, most
        self.x = left + 14
        self.out = [f'<text x="{left}" y="{top}">{title}</text>']
        for value in range(0, most + 1, step):
            y = self._y(value)
            self.out.append(f'<line x1="{left}" x2="{right}" y1="{y:g}" y2="{y:g}" stroke="#ddd"/>')
            self.out.append(f'<text x="{left - 6}" y="{y + 4:g}" text-anchor="end">{value}</text>')

    def _y(self, value):
        return self.bottom - value * self.tall / self.most

    def group(self, bars, about, bar, gap):
        """Bars of (value, colour) side by side with what they are about beneath; `bar` wide, the gap behind."""
        for value, colour in bars:
            y = self._y(value)
            self.out.append(f'<rect x="{self.x}" y="{y:.1f}" width="{bar - 2}" height="{self.bottom - y:.1f}" '
                            f'fill="{colour}"/>')
            self.out.append(f'<text x="{self.x + bar / 2 - 1:g}" y="{y - 3:.1f}" text-anchor="middle" '
                            f'font-size="10">{value}</text>')
            self.x += bar
        middle = self.x - len(bars) * bar / 2
        self.out.append(f'<text x="{middle:g}" y="{self.bottom + 16}" text-anchor="middle">{about}</text>')
        self.x += gap


def legend(names, y, each, left=46):
    """Of (name, colour), in a row."""
    out = []
    for i, (name, colour) in enumerate(names):
        x = left + 14 + i * each
        out.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{x + 17}" y="{y + 10}">{name}</text>')
    return out


def svg(width, height, *parts):
    """The file's text, from lists of elements."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    return "\n".join(out + [line for part in parts for line in part] + ["</svg>"]) + "\n"
