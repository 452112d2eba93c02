# SPDX-License-Identifier: GPL-2.0
"""targets - figures that are to be reached, and the table that says which are."""

from local_lab import markdown, text_of

LEAST, MOST = "at least", "at most"


class Target:
    """`names` are the figures that it is made of; `value` makes it from their medians."""

    def __init__(self, name, bound, limit, value, names, unit="x"):
        self.name, self.bound, self.limit, self.value, self.names, self.unit = name, bound, limit, value, names, unit

    def met(self, value):
        return value >= self.limit if self.bound == LEAST else value <= self.limit


def ratio(name, over, bound, limit, above, below):
    """A target that is one figure divided by another."""
    return Target(f"{name}: {over}", bound, limit, lambda figure: figure(*above) / figure(*below), (above, below))


def single(name, bound, limit, figure_name, unit):
    """A target that is one figure."""
    return Target(name, bound, limit, lambda figure: figure(*figure_name), (figure_name,), unit)


def table(judged):
    """Of rows {name, value, target, bound, unit, met, spread, why}."""
    rows = []
    for row in judged:
        met = ", ".join(text for text in ({True: "met", False: "NOT met", None: ""}[row["met"]], row.get("why")) if text)
        spread = " to ".join(text_of(value) for value in row.get("spread", ()))
        rows.append([row["name"], f"{row['bound']} {text_of(row['target'], row['unit'])}",
                     text_of(row["value"], row["unit"] if row["value"] is not None else ""), spread, met[:90]])
    return markdown(["what", "target", "measured", "single rounds", ""], rows)


def tally(judged):
    counted = [row["met"] for row in judged]
    return f"Targets: {counted.count(True)} met, {counted.count(False)} not met, {counted.count(None)} not measured"
