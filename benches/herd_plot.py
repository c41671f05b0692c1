#!/usr/bin/env python3
"""Draws goodput over time after an outage: `SPOOL_TEST_HERD=1000 cargo test --release --lib herd -- --ignored --nocapture`
prints the lists for each HERD_POLICY; they are given as `NAME=[...]` arguments. The picture goes to standard output."""
import json
import sys

COLOURS = ["#1f6fb2", "#c0392b", "#d68910"]
WIDTH, HEIGHT, LEFT, TOP, MINUTES = 480, 150, 40, 10, 12


def point(minute, share):
    return f"{LEFT + (minute + 0.5) * WIDTH / MINUTES:.0f},{TOP + HEIGHT * (1 - share / 1.1):.0f}"


out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 10} {TOP + HEIGHT + 75}" width="{LEFT + WIDTH + 10}" font-family="sans-serif" font-size="11" fill="#888">']
for share in (0, 0.5, 1):
    y = point(0, share).split(",")[1]
    out.append(f'<path d="M{LEFT},{y}h{WIDTH}" stroke="#8884"/><text x="2" y="{y}">{share:.0%}</text>')
for minute in range(0, MINUTES + 1, 2):
    out.append(f'<text x="{LEFT + minute * WIDTH / MINUTES:.0f}" y="{TOP + HEIGHT + 14}">{minute} min</text>')
for row, argument in enumerate(sys.argv[1:]):
    name, figures = argument.split("=", 1)
    line = " ".join(point(minute, share) for minute, share in enumerate(json.loads(figures)[:MINUTES]))
    out.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[row]}" stroke-width="2"/>')
    out.append(f'<text x="{LEFT}" y="{TOP + HEIGHT + 34 + 14 * row}" style="fill:{COLOURS[row]}">{name}</text>')
print("\n".join(out + ["</svg>"]))
