"""What pages claim of tables that they print themselves: runs that are not shipped, and the benchmark of intervals."""

import re

from told import PROJECT, holds, rows, tables

from benchmarks.intervals import DROPS, SIZES, agresti_min, bonett_price, drop_truths, every_table, judge, tango, worst
from benchmarks.peers.page import kept as peers
from benchmarks.verdicts import RATE, TRUTHS


def lost(cell):
    return float(re.search(r", (?:lost )?(-?[\d.]+)", cell)[1])


def low_high(cell):
    return tuple(map(float, re.search(r"\[([+-]?[\d.]+), ([+-]?[\d.]+)\]", cell).groups()))


def fitted(table, method, kept, column):
    return lost(tables("docs/calibrated.md")[table][method, kept][column])


def gained(table, method, kept):
    """By sharing ranks out by least error."""
    return fitted(table, method, kept, "calibrated") - fitted(table, method, kept, "calibrated, least error")


@holds(
    "docs/calibrated.md",
    "fitted Tucker-2 at 60 % loses about three points (2.8, 3.0, 1.9), sharing ranks out by error gains "
    "1.0 to 2.0 points at 40 %, and CP with EPC loses 0.3 to 0.5 points at 60 % and 0.9 to 1.5 at 40 %, "
    "in INT8",
)
def tucker2_at_60():
    found = [fitted(t, "tucker2", "60%", "calibrated, least error") for t in range(3)]
    assert [f"{f:.1f}" for f in found] == ["2.8", "3.0", "1.9"]
    gains = [gained(t, "tucker2", "40%") for t in range(3)]
    assert (f"{min(gains):.1f}", f"{max(gains):.1f}") == ("1.0", "2.0")
    for kept, ends in (("60%", ("0.3", "0.5")), ("40%", ("0.9", "1.5"))):
        cp = [fitted(t, "cp + epc", kept, "... and INT8") for t in range(3)]
        assert (f"{min(cp):.1f}", f"{max(cp):.1f}") == ends


@holds(
    "docs/calibrated.md",
    "Tucker-2 at 60 % is lost",
    "it stays within three points, and sharing ranks out by error gains half a point to one point",
    "for SVD it does so at 80 and 60 %, and costs 0.8 points at 40 %",
)
def one_table_of_fits():
    assert fitted(0, "tucker2", "60%", "weights only") > 40
    assert fitted(0, "tucker2", "60%", "calibrated, least error") <= 3
    assert all(0.45 < gained(0, "tucker2", kept) < 1.05 for kept in ("80%", "60%", "40%"))
    assert all(0.45 < gained(0, "svd", kept) < 1.05 for kept in ("80%", "60%"))
    assert f"{-gained(0, 'svd', '40%'):.1f}" == "0.8"


@holds(
    "docs/calibrated.md",
    "at 60 % it stays within the noise of the dense model, in INT8 too, and at 40 % within a point",
)
def cp_needs_the_fit_least():
    row = tables("docs/calibrated.md")[0]
    for column in ("calibrated", "... and INT8"):
        low, high = low_high(row["cp + epc", "60%"][column])
        assert low <= 0 <= high and lost(row["cp + epc", "40%"][column]) <= 1


@holds(
    "docs/calibrated.md",
    "at 60 % nothing else changes what is lost by more than 0.3 points",
)
def epc_is_what_int8_needs():
    table = rows("docs/calibrated.md")[3]
    at = [key for key, _ in table].index(("CP, everything",))
    (_, whole), *others = table[at:]
    for column in ("60% kept", "60% kept, INT8"):
        changed = {name: abs(lost(row[column]) - lost(whole[column])) for (name,), row in others}
        without_epc = changed.pop("... without EPC")
        assert len(changed) == 3 and max(changed.values()) <= 0.3
    assert without_epc > 1, "in INT8"


@holds(
    "docs/calibrated.md",
    "0.80 [0.13, 1.48] below dense fp32 (87.94 on this CPU), in a packed file of 94,632 bytes (11.5x smaller)",
)
def rounding_in_the_loop():
    page = (PROJECT / "docs/calibrated.md").read_text()
    dense, tuned = (
        float(re.search(r"dense fp32 \(([\d.]+) on this CPU", page)[1]),
        float(re.search(r"\*\*(\d\d\.\d\d)\*\*, 0\.80", page)[1]),
    )
    whole = int(re.search(r"dense fp32 \| 1 \| ([\d,]+) B", page)[1].replace(",", ""))
    assert f"{dense - tuned:.2f}" == "0.80" and f"{whole / 94_632:.1f}" == "11.5"


@holds(
    "docs/calibrated.md",
    "it does not keep the target on the other images: not verified",
    "none is left to verify it",
)
def the_recipe_is_told_as_it_was():
    """Bold is the smallest file that keeps a point where it is chosen; what is said of the others is what they say."""
    page = (PROJECT / "docs/calibrated.md").read_text()
    told = [line for line in page.splitlines() if re.search(r"\| [\d,]+ B \| [*\d.]+x", line)]
    judged = [
        (
            int(re.search(r"([\d,]+) B", r)[1].replace(",", "")),
            *map(float, re.findall(r"([+-][\d.]+) \[", r)),
            "**" in r,
        )
        for r in told
    ]
    met = [j for j in judged if j[1] <= 1]
    assert len(judged) == 7 and [j for j in judged if j[3]] == [min(met)] and min(met)[2] > 1
    ratio = re.search(r"\| \*\*CP \+ EPC, calibrated\*\* \| ([\d.]+) ", page)[1]
    assert f"chose CP at {ratio} and said that it does not keep the target" in page
    (two,) = (j for r, j in zip(told, judged, strict=True) if r.startswith("| CP + EPC, calibrated | 2 |"))
    assert two[1] <= 1 and two[2] <= 1, "at 2 it keeps it on both"


CHANNEL = ("INT8 onnxruntime, per channel", "INT8 torch, per channel")
CURE, LOOSE = ("CP + EPC at the ALS error, conditioned",), ("CP + EPC, 1.05 x the ALS error, conditioned",)
AGAIN = ("the same, batch norms re-estimated, conditioned",)


def cures():
    return tables("docs/cp-int8.md")[:3]


@holds(
    "docs/cp-int8.md",
    "loses at most half a point to INT8 per channel on both backends, and at most 0.7 with one scale a tensor",
)
def the_cure_holds():
    assert all(lost(t[CURE][c]) <= 0.5 for t in cures() for c in CHANNEL)
    assert all(lost(t[CURE]["INT8 onnxruntime, per tensor"]) <= 0.7 for t in cures())


@holds(
    "docs/cp-int8.md",
    "stays within 0.6 points of the dense model on the first table, within 1.2 on the second and at the "
    "dense model's own on the third",
)
def the_cure_in_fp32():
    found = [float(t[CURE]["lost to dense"].split()[0]) for t in cures()]
    assert found[0] <= 0.6 and found[1] <= 1.2 and found[2] == 0


@holds(
    "docs/cp-int8.md",
    "costs more in fp32 than it gains in INT8",
)
def room_and_batch_norms():
    for table in cures():
        fp32 = float(table[CURE]["fp32"]) - float(table[LOOSE]["fp32"])
        assert all(fp32 > lost(table[CURE][c]) - lost(table[LOOSE][c]) for c in CHANNEL)
    assert [float(t[AGAIN]["fp32"]) > float(t[CURE]["fp32"]) for t in cures()] == [True, False, False]


@holds(
    "docs/cp-int8.md",
    "loses one to seven points at 6/6, and does not hold at 4 bits, where components that are smaller "
    "still (1.05 times) help most and dense weights lose one to three points",
)
def fewer_bits():
    simulated = tables("docs/cp-int8.md")[3:6]
    assert all(lost(t[CURE][p]) < 1 for t in simulated for p in ("w8", "w6", "w8a8"))
    six = [lost(t[row]["w6a6"]) for t in simulated for row in (CURE, LOOSE)]
    assert round(min(six)) == 1 and round(max(six)) == 7
    dense = [lost(t["dense",]["w4"]) for t in simulated]
    assert round(min(dense)) == 1 and round(max(dense)) == 3
    assert all(lost(t[LOOSE]["w4"]) < lost(t[CURE]["w4"]) for t in simulated)


@holds(
    "docs/cp-int8.md",
    "costs 0.7 points with weights of 6 bits, 2.9 with activations of 6 bits too, and everything at 4",
)
def one_scale():
    table = tables("docs/cp-int8.md")[6]
    channel, tensor = table["per channel, minmax",], table["per tensor, minmax",]
    assert f"{lost(tensor['w6']) - lost(channel['w6']):.1f}" == "0.7"
    assert f"{lost(tensor['w6a6']) - lost(channel['w6a6']):.1f}" == "2.9"
    assert lost(tensor["w4"]) > 60 and lost(tensor["w4a4"]) > 70


@holds(
    "docs/intervals.md",
    "the truth lies above it in 2.9 % of the cases at worst where theirs lets 6.6 % pass, and Agresti and "
    "Min's (2005), which TDQ had before, 14.4 %",
)
def the_page_of_intervals():
    """Three of its rows are what the benchmark prints, and the sentence says what is in the last one."""
    printed = tables("docs/intervals.md")[0]
    for discordant in (0, 2, 3):
        likely = [(t, every_table(t)) for n in SIZES for t in drop_truths(n, discordant)]
        for method in DROPS:
            found = worst([judge(method, truth, table) for truth, table in likely])
            told = f"{found.covered:.3f}, {found.high:.3f} / {found.low:.3f}, {found.width:.1f}"
            assert printed[str(discordant),][method.name] == told
    high = [printed["0 to 12",][m].split()[1] for m in ("score (Tango)", "Bonett-Price", "Agresti-Min")]
    assert high == ["0.029", "0.066", "0.144"]


@holds("docs/intervals.md", "above it in 2.8 % of the cases at worst, above Bonett and Price's in 5.3 %")
def images_that_count_twice():
    rows = tables("docs/intervals.md")[1].values()
    worst_cells = {m: max(float(r[m].split()[1]) for r in rows) for m in next(iter(rows))}
    assert (worst_cells["score, ±2"], worst_cells["Bonett-Price, ±2"]) == (0.028, 0.053)
    assert all(high > 0.1 for m, high in worst_cells.items() if not m.endswith("±2"))


@holds(
    "docs/intervals.md",
    "chooses the smallest file on one half of the images, and the other half judges it",
    "*Shown* is stated to be false in at most 2.5 % of all cases",
    "in per cent of the times asked, *shown*, and *shown* and false",
    "At worst *shown* is false in 2.1 %, where twelve runs lie just beyond the bound",
)
def shown_and_false():
    """Of what the benchmark printed; a test draws anew, less often."""
    printed = tables("docs/intervals.md")[2]
    assert [name for (name,) in printed] == [truth.name for truth in TRUTHS]
    false = {name: [float(cell.split(", ")[1]) for cell in row.values()] for (name,), row in printed.items()}
    worst_of = max(false, key=lambda name: max(false[name]))
    assert worst_of.startswith("twelve runs, all just beyond") and max(false[worst_of]) == 2.1 <= 100 * RATE


@holds(
    "docs/intervals.md",
    "it says of a run that lost no image of 700",
    "0.546 points to either side (Agresti-Min 0.279, Bonett-Price 0.395, exact 0.526)",
)
def no_image_of_700():
    ends = [100 * m({0: 700})[1] for m in (tango, agresti_min, bonett_price)]
    assert [f"{e:.3f}" for e in [*ends, 100 * (1 - 0.025 ** (1 / 700))]] == ["0.546", "0.279", "0.395", "0.526"]


@holds(
    "docs/intervals.md",
    "no end of theirs is further than 0.04 points from today's, and 0.08 of 2,500",
)
def older_intervals_are_near():
    for n, most in ((5000, 0.04), (2500, 0.08)):
        for differ in (20, 40, 100, 400, 1000, 2400):
            for lost_ones in {differ // 2, 3 * differ // 4, differ}:
                counts = {1: lost_ones, -1: differ - lost_ones, 0: n - differ}
                apart = [abs(a - b) for a, b in zip(agresti_min(counts), tango(counts), strict=True)]
                assert 100 * max(apart) <= most


@holds(
    "docs/prediction.md",
    "With Tucker-2 it is shown to be better than `uniform` at all three, and than `global` at 25 %; elsewhere, and "
    "with CP + EPC, the difference is within the noise of 5,000 images",
    "Nowhere is it shown to be worse",
)
def predicted_against_other_policies():
    rows = [line.strip("| \n").split(" | ") for line in (PROJECT / "docs/prediction.md").read_text().splitlines()
            if re.match(r"\|[^|]*\| (predicted|global|uniform) \|", line)]  # fmt: skip
    assert len(rows) == 15
    for cells in rows:
        if cells[1] == "predicted":
            method = cells[0].split(",")[0]
            continue
        policy, _, measured, gained = cells
        low, high = low_high(gained)
        better = method == "Tucker-2" and (policy == "uniform" or float(measured.split()[0]) > 10)
        assert (low > 0) == better and high > 0


@holds(
    "docs/deploy.md",
    "For the fitted ResNet-20 no number of layers that was tried was within the 0.2 points that were asked for: all "
    "that saturate were rounded to 7 bits, and 0.7 points are lost, the same with VNNI and without",
)
def a_repair_that_is_not_enough():
    table = next(t for t in tables("docs/deploy.md") if any("at 7 bits" in row for row in t.values()))
    row = next(row for (name,), row in table.items() if "ResNet-20" in name and "fitted to outputs" in name)
    assert row["layers that lose"].split()[0] == row["at 7 bits"]
    assert row["repaired: with"] == row["without"] == "83.4"
    assert round(float(row["with VNNI"]) - float(row["repaired: with"]), 1) == 0.7


@holds(
    "README.md",
    "it is **2.79 times as fast as INT8 alone**, one image a call on one thread, at a drop of 0.5 [-0.3, 1.4]; of the "
    "other tools that were tried none is beyond 1.46 times with less than ten points lost",
)
def nobody_else_is_as_fast() -> None:
    rows = {row.made.way: row for row in peers()["resnet18_cifar10"].rows if row.times}
    own = rows["TDQ mixed, by time"]
    assert own.times and own.drop and f"{own.times.median:.2f}" == "2.79"
    assert [f"{100 * share:.1f}" for share in own.drop] == ["0.5", "-0.3", "1.4"]
    others = [row for way, row in rows.items() if not way.startswith("TDQ") and row.drop and row.drop[0] < 0.1]
    assert f"{max(row.times.median for row in others if row.times):.2f}" == "1.46"
