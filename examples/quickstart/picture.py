#!/usr/bin/env python3
"""Draws what the quickstart prints where no terminal is: `cargo run ... --example quickstart | picture.py > quickstart.svg`.

The curves are what was emitted and what was delivered, of records and spans together; between them is what waits in the spool.
"""

import re
import sys

WIDTH, HEIGHT = 860, 330
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 62, 42


def numbers(text):
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


def read(lines):
    """The points (seconds, emitted, delivered), the beginning of each chapter, and the closing table by its first words."""
    points, chapters, table = [(0.0, 0, 0)], {}, {}
    for line in lines:
        if progress := re.match(r" *([\d.]+) s +emitted +([\d,]+) +in spool +[\d,]+ +delivered +([\d,]+)", line):
            points.append((float(progress[1]), *numbers(progress[2] + " " + progress[3])))
        elif chapter := re.match(r" *([\d.]+) s +(\d+)\. ", line):
            chapters[int(chapter[2])] = float(chapter[1])
        elif row := re.match(r" *([a-z][a-z ]+?) {2,}([\d,.]+)", line):
            table[row[1]] = line
    return points, chapters, table


def draw(points, chapters, table, last):
    end, most = points[-1][0], max(emitted for _, emitted, _ in points)

    def x(seconds):
        return round(LEFT + seconds / end * (WIDTH - LEFT - RIGHT), 1)

    def y(count):
        return round(HEIGHT - BOTTOM - count / most * (HEIGHT - TOP - BOTTOM), 1)

    def text(at, up, words, anchor="start", size=13, colour="#333"):
        return f'<text x="{at}" y="{up}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{words}</text>'

    def at(seconds):
        return next(point for point in points if point[0] >= seconds)

    emitted = " ".join(f"{x(seconds)},{y(count)}" for seconds, count, _ in points)
    delivered = " ".join(f"{x(seconds)},{y(count)}" for seconds, _, count in points)
    back = " ".join(f"{x(seconds)},{y(count)}" for seconds, _, count in reversed(points))
    bottom = HEIGHT - BOTTOM
    down, kill, start, up = (chapters[number] for number in (2, 3, 4, 5))
    late = (up + end) / 2
    emitted_count, lost = numbers(table["emitted"])[0], numbers(table["lost"])[:2]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        'font-family="system-ui, sans-serif">',
        f"<title>The quickstart: {emitted_count:,} records and as many spans were emitted, {lost[0]} and {lost[1]} were lost</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
        f'<rect x="{x(down)}" y="{TOP}" width="{round(x(up) - x(down), 1)}" height="{bottom - TOP}" fill="#fdecea"/>',
        f'<rect x="{x(kill)}" y="{TOP}" width="{round(x(start) - x(kill), 1)}" height="{bottom - TOP}" fill="#f5c6c2"/>',
        f'<polygon points="{emitted} {back}" fill="#ffe9b3"/>',
        f'<polyline points="{emitted}" fill="none" stroke="#333" stroke-width="2"/>',
        f'<polyline points="{delivered}" fill="none" stroke="#1b7f3b" stroke-width="2.5"/>',
        f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="#999"/>',
        text(16, 24, last, size=15, colour="#111"),
        text(x(down) + 4, TOP - 8, "the endpoint is down", colour="#b3261e"),
        text(x(kill) + 4, bottom - 10, "kill -9", colour="#b3261e"),
        text(x(up) + 4, TOP - 8, "it comes back: 503, a lost response, slow", colour="#555"),
        text(x(late) - 20, (y(at(late)[1]) + y(at(late)[2])) / 2, "waits on disk", "middle", colour="#8a6100"),
        text(x(late) - 12, y(at(late)[1]) - 6, "emitted", "end"),
        text(x(late) + 12, y(at(late)[2]) + 16, "delivered", colour="#1b7f3b"),
    ]
    for count in range(0, most + 1, 5_000):
        parts.append(text(LEFT - 8, y(count) + 4, f"{count:,}", "end", 11, "#666"))
    for seconds in range(0, int(end) + 1, 5):
        parts.append(text(x(seconds), bottom + 18, f"{seconds} s", "middle", 11, "#666"))
    return "\n".join(parts + ["</svg>"])


def main():
    lines = sys.stdin.read().splitlines()
    points, chapters, table = read(lines)
    last = next(line.strip() for line in reversed(lines) if line.strip().startswith("Every record and span"))
    print(draw(points, chapters, table, last))


if __name__ == "__main__":
    main()
