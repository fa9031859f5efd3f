#!/usr/bin/env python3
"""Draws the panes of the book's nine rows, event time by processing time, from a real server.

    headwater server --manual-clock …
    panes_svg.py 'host=127.0.0.1 port=4577 user=headwater dbname=headwater' figures.json docs/img

One picture per accumulation mode: the schedule of figure 2-11 with the heuristic watermark, run
through psql; what is drawn is what headwater.panes returned.
"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
os.environ["FIGURES_AS_MODULE"] = "1"
from figures import clock  # noqa: E402

MODES = ["accumulating", "discarding", "accumulating_and_retracting"]
COLOURS = {"EARLY": "#9ecae9", "ON_TIME": "#88c18b", "LATE": "#f4a582"}
LEFT, TOP, X_SECONDS, Y_SECONDS = 70, 40, 1.1, 2.2
X0, X1, Y0, Y1 = 0, 480, 300, 600


def psql(connection, sql):
    run = subprocess.run(["psql", connection, "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", sql],
                         capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return [line.split("\t") for line in run.stdout.splitlines()]


def play(connection, schedule):
    psql(connection, "CREATE SOURCE drawn (score INT, ts TIMESTAMP, WATERMARK FOR ts AS "
                     "SOURCE_WATERMARK()) WITH (connector = 'feed')")
    for mode in MODES:
        psql(connection,
             f"CREATE MATERIALIZED VIEW {mode} AS SELECT window_start, window_end, sum(score) AS total "
             "FROM TUMBLE(drawn, ts, INTERVAL '2 minutes') GROUP BY window_start, window_end "
             "EMIT EARLY EVERY INTERVAL '1 minute', ON TIME IF NOT EMPTY, LATE AFTER 1 ROW "
             f"ALLOWED LATENESS INTERVAL '1000 days' {mode.replace('_', ' ').upper()}")
    moments = {}
    for step in schedule:
        moments.setdefault(step["to"] if step["op"] == "processing_time" else step["pt"], []).append(step)
    for minute in range(360, 661, 60):
        moments.setdefault(minute, [])
    for at in sorted(moments):
        psql(connection, f"ADVANCE CLOCK TO TIMESTAMPTZ '{clock(at)}Z'")
        for step in moments[at]:
            if step["op"] == "input":
                for row in step["records"]:
                    psql(connection, f"INSERT INTO drawn VALUES ({row['v']}, '{clock(row['t'])}')")
            elif step["op"] == "watermark":
                psql(connection, f"ADVANCE WATERMARK FOR drawn TO TIMESTAMPTZ '{clock(step['to'])}Z'")
        psql(connection, "STEP")


def x(seconds):
    return LEFT + (seconds - X0) * X_SECONDS


def y(seconds):
    return TOP + (Y1 - seconds) * Y_SECONDS


def draw(mode, panes, schedule):
    width, height = x(X1) + 120, y(Y0) + 50
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
           'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="14">{mode.replace("_", " ").upper()}</text>']
    for minute in range(X0, X1 + 1, 60):
        out.append(f'<text x="{x(minute):.0f}" y="{y(Y0) + 18:.0f}" text-anchor="middle">12:{minute // 60:02}</text>')
    for minute in range(Y0, Y1 + 1, 60):
        out.append(f'<path d="M{LEFT} {y(minute):.1f}H{x(X1):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(minute) + 4:.0f}" text-anchor="end">12:{minute // 60:02}</text>')
    out.append(f'<text x="{x(X1 / 2):.0f}" y="{y(Y0) + 38:.0f}" text-anchor="middle">event time</text>')
    out.append(f'<text x="16" y="{y(450):.0f}" transform="rotate(-90 16 {y(450):.0f})" '
               'text-anchor="middle">processing time</text>')
    below = {}
    for start, end, total, timing, fired, minus in panes:
        lower = below.get(start, Y0)
        fill = COLOURS[timing]
        out.append(f'<rect x="{x(start):.1f}" y="{y(fired):.1f}" width="{(end - start) * X_SECONDS:.1f}" '
                   f'height="{(fired - lower) * Y_SECONDS:.1f}" fill="{fill}" fill-opacity="0.35" stroke="{fill}"/>')
        text = f"{total}" if minus is None else f"−{minus}, {total}"
        out.append(f'<text x="{x((start + end) / 2):.1f}" y="{y(fired) + 13:.1f}" text-anchor="middle" '
                   f'font-weight="bold">{text}</text>')
        below[start] = fired
    path = f"M{x(0):.1f} {y(Y0):.1f}"
    for step in schedule:
        if step["op"] == "watermark" and step["to"] != "inf":
            path += f"L{x(min(step['to'], X1)):.1f} {y(step['pt']):.1f}"
        if step["op"] == "input":
            for row in step["records"]:
                cx, cy = x(row["t"]), y(step["pt"])
                out.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="9" fill="white" stroke="black"/>')
                out.append(f'<text x="{cx:.1f}" y="{cy + 4:.1f}" text-anchor="middle">{row["v"]}</text>')
    out.append(f'<path d="{path}" fill="none" stroke="#444" stroke-dasharray="4 3"/>')
    for i, (timing, colour) in enumerate(COLOURS.items()):
        out.append(f'<rect x="{x(X1) + 15:.0f}" y="{60 + 20 * i}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{x(X1) + 32:.0f}" y="{70 + 20 * i}">{timing}</text>')
    out.append(f'<text x="{x(X1) + 15:.0f}" y="135">- - watermark</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    connection, figures, folder = sys.argv[1:4]
    schedule = json.load(open(figures))["schedules"]["figure/heuristic"]
    play(connection, schedule)
    base = "TIMESTAMP '2020-01-01 12:00:00'"
    for mode in MODES:
        seconds = ", ".join(f"extract(epoch FROM {c} - {base})" for c in ["window_start", "window_end"])
        rows = psql(connection, f"SELECT {seconds}, total, pane_timing, extract(epoch FROM "
                                f"pane_fired_at - {base}::timestamptz) FROM headwater.panes('{mode}') "
                                "ORDER BY pane_fired_at, window_start")
        panes, last = [], {}
        for start, end, total, timing, fired in rows:
            start, end, fired = float(start), float(end), float(fired)
            minus = last.get(start) if mode == "accumulating_and_retracting" else None
            panes.append((start, end, total, timing, fired, minus))
            last[start] = total
        with open(f"{folder}/panes_{mode}.svg", "w") as out:
            out.write(draw(mode, panes, schedule))


main()
