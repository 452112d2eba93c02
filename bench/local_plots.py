# SPDX-License-Identifier: GPL-2.0
"""local_plots - latency, bandwidth and connection set-up as SVG and PNG, by gnuplot."""

import shutil
import subprocess

from local_lab import PATHS, TITLES, TOP

COLOURS = {"tcp": "#4c78a8", "unix": "#72b7b2", "xway": "#e45756", "direct": "#b279a2"}
STYLE = """
set key top left reverse Left
set grid lc rgb "#dddddd"
set border 3
set tics nomirror
set logscale x 2
set offsets graph 0.02, graph 0.05, 0, 0
set datafile missing "-"
"""


def _lines(bench, pattern, xs, scale):
    """{title: [(x, median, least, most)]} of the paths that have figures."""
    found = {}
    for path in PATHS:
        points = []
        for x in xs:
            values = bench.values(pattern.format(x), path)
            if values:
                points.append((x, *(value * scale for value in (bench.figure(pattern.format(x), path), min(values),
                                                                max(values)))))
        if points:
            found[TITLES[path], COLOURS[path]] = points
    return found


def _queues(bench, xs):
    found = {}
    colours = iter(("#e45756", "#f2a6a6", "#4c78a8", "#a6c3e0", "#54a24b", "#a9d5a3"))
    for design in bench.lab.queue_designs():
        for kind, title in (("busy", "all open connections"), ("idle", "one opens connections")):
            points = []
            for x in xs:
                for path in ("direct", "xway"):
                    values = bench.values(f"queue {design} {kind} {x}", path)
                    if values:
                        points.append((x, bench.figure(f"queue {design} {kind} {x}", path), min(values), max(values)))
                        break
            if points:
                found[f"{design}: {title}", next(colours)] = points
    return found


def draw(out, name, title, x_label, y_label, lines, log_y):
    data = []
    for (label, _), points in lines.items():
        rows = "\n".join(" ".join(f"{value:.6g}" for value in point) for point in points)
        data.append(f"# {label}\n{rows}\n")
    (out / f"{name}.dat").write_text("\n\n".join(data))
    draws = []
    for i, (label, colour) in enumerate(lines):
        draws.append(f'"{out / name}.dat" index {i} using 1:2:3:4 with yerrorbars pt 0 lc rgb "{colour}" notitle')
        draws.append(f'"{out / name}.dat" index {i} using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb "{colour}" '
                     f'title "{label}"')
    script = [STYLE, f'set title "{title}"', f'set xlabel "{x_label}"', f'set ylabel "{y_label}"',
              "set logscale y" if log_y else "set yrange [0:*]"]
    xs = sorted({point[0] for points in lines.values() for point in points})
    script.append("set xtics (" + ", ".join(f'"{x >> 10} Ki" {x}' if x >= 1024 else f'"{x}" {x}' for x in xs) + ")")
    return _make(out, name, script, "plot " + ", ".join(draws))


def bars(out, name, title, x_label, heights):
    """Horizontal bars {label: (value, least, most)}, with a line at 1."""
    rows = [f'"{label}" {i} {" ".join(f"{value:.6g}" for value in values)}' for i, (label, values) in enumerate(reversed(heights.items()))]
    (out / f"{name}.dat").write_text("\n".join(rows) + "\n")
    data = f'"{out / name}.dat"'
    script = ["set border 3", "set tics nomirror", 'set grid x lc rgb "#dddddd"', "unset key",
              f'set title "{title}"', f'set xlabel "{x_label}"', "set style fill solid 0.8 noborder", f"set yrange [-0.7:{len(rows) - 0.3}]", "set xrange [0:*]", "set lmargin 46",
              'set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb "#444444" dt 2']
    plot_line = (f'plot {data} using (0.5*$3):2:(0.5*$3):(0.35):ytic(1) with boxxyerror lc rgb "{COLOURS["xway"]}", '
                 f'{data} using 3:2:4:5 with xerrorbars pt 0 lc rgb "#444444"')
    return _make(out, name, script, plot_line, height=max(500, 26 * len(rows) + 120))


def _make(out, name, script, plot_line, height=500):
    """Both kinds of picture; what gnuplot has against it, or nothing."""
    for terminal, suffix in ((f'svg size 800,{height} dynamic background rgb "white" font "sans,13"', "svg"),
                             (f'pngcairo size 1200,{height * 3 // 2} font "sans,14"', "png")):
        script += [f"set terminal {terminal}", f'set output "{out / name}.{suffix}"', plot_line]
    (out / f"{name}.gp").write_text("\n".join(script) + "\n")
    done = subprocess.run(["gnuplot", out / f"{name}.gp"], capture_output=True, text=True, timeout=60)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def plot(bench, out, rr_sizes, stream_sizes, processes, queue_processes):
    """Draws what there are figures for; says what it did."""
    pictures = [
        ("latency", "Round trip, two cores, blocking", "message (bytes)", "us", _lines(bench, "rr {}", rr_sizes, 1e-3), True),
        ("bandwidth", "One way, written and read", "write (bytes)", "GB/s", _lines(bench, "stream {}", stream_sizes, 1), False),
        ("setup", "Connections opened and closed", "client processes", "a second", _lines(bench, "cc {}", processes, 1), True),
        ("queues", "The two designs of the request queue", "processes", "connections a second",
         _queues(bench, queue_processes), False)]
    pictures = [picture for picture in pictures if picture[4]]
    if not pictures:
        return "No plots: nothing to draw"
    if not shutil.which("gnuplot"):
        return "No plots: gnuplot is not installed. On Debian: apt-get install gnuplot-nox"
    for picture in pictures:
        problem = draw(out, *picture)
        if problem:
            return f"No plots: gnuplot: {problem}"
    return f"Plots: {out.relative_to(TOP)}/{{{','.join(picture[0] for picture in pictures)}}}.{{svg,png}}"
