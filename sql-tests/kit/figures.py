#!/usr/bin/env python3
"""Writes sql-tests/triggers/figure_*.slt from the panes of the figures of Streaming Systems.

    figures.py streaming-systems-figures.json sql-tests/triggers

Each figure is one script: its schedule as feeds, clock and watermark, a STEP at each moment,
and the panes that the book draws, as headwater.panes lists them (and, with retractions, as a
subscriber gets them, moment by moment). Times of the book are seconds after 12:00:00; it draws
a pane up to a second after the row that fires it, so they are compared in whole seconds.
"""
import json
import math
import os
import sys

DAY = "2020-01-01"


def clock(seconds):
    whole = int(math.floor(seconds + 1e-9))
    text = f"{12 + whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    fraction = round(seconds - whole, 3)
    return f"{DAY} {text}" + (f"{fraction:.3f}"[1:] if fraction > 0 else "")


def interval(seconds):
    return f"INTERVAL '{seconds} seconds'"


def trigger(t):
    if t["type"] == "repeatedly":
        return f"REPEATEDLY ({trigger(t['of'])})"
    if t["type"] == "after_count":
        return "AFTER 1 ROW" if t["count"] == 1 else f"AFTER {t['count']} ROWS"
    if "align" in t:
        origin = t["align"]["origin"] % t["align"]["period"]
        offset = f" OFFSET {interval(origin)}" if origin else ""
        return f"EVERY {interval(t['align']['period'])}{offset}"
    return f"AFTER DELAY {interval(t['delay'])}"


def clause(example):
    t = example["trigger"]
    if t["type"] in ("default", "after_watermark"):
        parts = []
        if "early" in t:
            parts.append(f"EARLY {trigger(t['early'])}")
        empty = example["on_time_behavior"] == "fire_if_non_empty"
        parts.append("ON TIME IF NOT EMPTY" if empty else "ON TIME")
        if "late" in t:
            parts.append(f"LATE {trigger(t['late'])}")
        text = "EMIT " + ", ".join(parts)
    else:
        text = f"EMIT WHEN {trigger(t)}"
    if example["allowed_lateness"]:
        text += f"\nALLOWED LATENESS {interval(example['allowed_lateness'])}"
    return text + "\n" + example["accumulation"].replace("_", " ").upper()


def source_of(window):
    if window["kind"] == "fixed":
        return f"TUMBLE(scores, ts, {interval(window['size'])})"
    if window["kind"] == "session":
        return f"SESSION(scores PARTITION BY team, ts, {interval(window['gap'])})"
    # The one window of a batch: all of time.
    return "TUMBLE(scores, ts, INTERVAL '365000 days')"


def script(example, schedule):
    windowed = example["window"]["kind"] != "global"
    bounds = "window_start, window_end, " if windowed else ""
    labelled = all(p["timing"] for p in example["expected"])
    out = [
        f"# no-batch\n# Streaming Systems, figure {example['figure']}."
        + (f" {example['note']}." if example.get("note") else "")
        + "\n# Made by sql-tests/kit/figures.py.",
        "statement ok\nCREATE SOURCE scores (team TEXT, score INT, ts TIMESTAMP, WATERMARK FOR ts AS "
        "SOURCE_WATERMARK()) WITH (connector = 'feed')",
        f"statement ok\nCREATE MATERIALIZED VIEW totals AS\nSELECT team, {bounds}sum(score) AS total\n"
        f"FROM {source_of(example['window'])}\nGROUP BY team, window_start, window_end"
        f"\n{clause(example)}",
    ]
    retracting = example["accumulation"] == "accumulating_and_retracting"
    if retracting:
        out[0] = "# no-crash\n" + out[0]
        out.append("subscribe panes totals")
    moments = {}
    last = 0
    for step in schedule:
        at = step.get("pt", step.get("to"))
        if step["op"] == "processing_time":
            at = step["to"]
        moments.setdefault(at, []).append(step)
        last = max(last, at)
    known = {math.floor(m + 1e-9) for m in moments}
    for pane in example["expected"]:
        drawn = math.floor(pane["pt"] + 1e-9)
        if drawn not in known:
            moments.setdefault(drawn, [])
    # Every due timer gets a moment of its own, also where nothing fires.
    for minute in range(0, int(last) + 1, 60):
        if minute >= min(moments):
            moments.setdefault(minute, [])

    def bound(x):
        return clock(x)

    def row(pane, with_pt):
        cells = []
        if windowed:
            cells += [bound(pane["window"][0]), bound(pane["window"][1])]
        cells.append(str(pane["value"]))
        if with_pt:
            if labelled:
                cells.append(pane["timing"])
            cells.append(f"{DAY} {pane['pt_text']}+00")
        return "\t".join(cells)

    for at in sorted(moments):
        out.append(f"advance clock to {clock(at)}Z")
        for step in moments[at]:
            if step["op"] == "input":
                rows = [f"('{r['key']}', {r['v']}, '{clock(r['t'])}')" for r in step["records"]]
                out.append("feed scores\n" + "\n".join(rows))
            elif step["op"] == "watermark":
                to = "infinity" if step["to"] == "inf" else f"{clock(step['to'])}Z"
                out.append(f"watermark scores {to}")
        out.append("epoch")
        if retracting:
            now = [p for p in example["expected"] if math.floor(p["pt"] + 1e-9) == math.floor(at + 1e-9)]
            rows = [("-1" if p["retract"] else "1") + "\tTeamX\t" + row(p, False) for p in now]
            out.append("\n".join(["changes panes", "----"] + rows))
    timing = "pane_timing, " if labelled else ""
    shown = f"{bounds}total, {timing}date_trunc('second', pane_fired_at)"
    expected = [row(p, True) for p in example["expected"] if not p["retract"]]
    out.append(f"query\nSELECT {shown} FROM headwater.panes('totals')\n----\n" + "\n".join(expected))
    return "\n\n".join(out) + "\n"


def main():
    data = json.load(open(sys.argv[1]))
    for example in data["examples"]:
        name = example["figure"].replace("-", "_")
        with open(f"{sys.argv[2]}/figure_{name}.slt", "w") as out:
            out.write(script(example, data["schedules"][example["schedule"]]))


if "FIGURES_AS_MODULE" not in os.environ:
    main()
